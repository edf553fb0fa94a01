"""One reference to a network: a registered one, one of a zoo, one of your own; built and converted.

`Network("timm:resnet18", convert="acs", num_classes=3).build().model` is a network for volumes.
"""

from lean3d.networks.acs_paper import acs_network
from lean3d.networks.network import Built, Network

__all__ = ["Built", "Network", "acs_network"]
