"""Modules of the model zoos whose own forward cannot say what it means in 3D.

They are known by name, so that no zoo need be installed.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

from torch import Tensor, nn

from lean3d.convert.lift import Lift, Site
from lean3d.convert.rules import rule

__all__ = ["MoveChannels"]


class MoveChannels(nn.Module):
    """Channels to the last axis, or from there to the second.

    Shape: (B, C, D, H, W) -> (B, D, H, W, C), or back.
    """

    def __init__(self, last: bool):
        super().__init__()
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1) if self.last else x.movedim(-1, 1)

    def extra_repr(self) -> str:
        return f"last={self.last}"


@rule(Lift, "torchvision.ops.misc.Permute")
def permute(module: Any, site: Site) -> nn.Module:
    dims = tuple(module.dims)
    if dims not in ((0, 2, 3, 1), (0, 3, 1, 2)):
        raise site.refuse(module, f"it orders the axes of an image as {dims}")
    return MoveChannels(last=dims == (0, 2, 3, 1))
