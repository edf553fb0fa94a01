"""A registered model of lean3d."""

from torch import nn

from lean3d.errors import RunError
from lean3d.models import find_model
from lean3d.networks.make import make_model
from lean3d.networks.source import Asked, refuse_weights

__all__ = ["registered"]

PREFIXES = "timm:, torchvision:, smp:, acs:, monai:, nnunet:"


def registered(asked: Asked) -> tuple[nn.Module, set[str]]:
    """Build `lean3d.create_model(name)`."""
    try:
        find_model(asked.name)
    except RunError as error:
        raise RunError(f"{error}; networks of zoos have a prefix, {PREFIXES}") from error
    if asked.weights is not None:
        raise refuse_weights(asked, "its published weights are files; give one of them, or none")
    ends = {"in_channels": asked.in_channels, "num_classes": asked.num_classes}
    return make_model(asked.name, ends | asked.options), set(ends)
