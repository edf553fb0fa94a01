"""Rules for modules of the model zoos whose own forward cannot be converted.

They are registered by name, so that no zoo need be installed.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

from torch import Tensor, nn

from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.conversion.to3d.rules.pixel_shuffle import PlanarPixelUnshuffle
from lean3d.conversion.to3d.rules.registry import module_rule

__all__ = ["MoveChannels", "PlanarSpaceToDepth"]


class MoveChannels(nn.Module):
    """Move channels to the last axis, or from there to the second.

    Shape: (B, C, D, H, W) -> (B, D, H, W, C), or back.
    """

    def __init__(self, last: bool):
        super().__init__()
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1) if self.last else x.movedim(-1, 1)

    def extra_repr(self) -> str:
        return f"last={self.last}"


@module_rule(To3D, "torchvision.ops.misc.Permute")
def permute(module: Any, site: Site) -> nn.Module:
    dims = tuple(module.dims)
    if dims not in ((0, 2, 3, 1), (0, 3, 1, 2)):
        raise site.refuse(module, f"it orders the axes of an image as {dims}")
    return MoveChannels(last=dims == (0, 2, 3, 1))


class PlanarSpaceToDepth(PlanarPixelUnshuffle):
    """PlanarPixelUnshuffle with the positions before the channels they come from.

    Shape: (B, C, D * r, H * r, W * r) -> (B, r * r * C, D, H, W) for axis 0 and pool r.
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        y = super().forward(x_BCDHW)
        return y.unflatten(1, (x_BCDHW.shape[1], -1)).transpose(1, 2).flatten(1, 2)


@module_rule(To3D, "timm.layers.space_to_depth.SpaceToDepth")
def space_to_depth(module: Any, site: Site) -> Converted:
    axis = site.how.plane_axis
    return Converted(PlanarSpaceToDepth(module.bs, 1 if site.keep else module.bs, axis), axis == 0)
