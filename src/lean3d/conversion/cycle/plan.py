"""What is done to every module of a network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from lean3d.conversion.cycle.other_sizes import Settings
from lean3d.conversion.cycle.parts import Block, Network, Resampling
from lean3d.conversion.to3d.plane_cycle import PlaneCycle

__all__ = ["CyclePlan", "Rewrite"]


@dataclass(frozen=True)
class CyclePlan:
    """What is done to every module of a network.

    Args:
        settings: Attributes to set for images of other sizes, by path.
        parts: The blocks and resamplers by path.
    """

    how: PlaneCycle
    settings: Settings
    network: Network
    parts: Mapping[str, Block | Resampling]


# returns a converted copy
Rewrite = Callable[[nn.Module, CyclePlan], nn.Module]
