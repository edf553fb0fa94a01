"""Interpolation of volumes by the modes that images have.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.ops.leaf import Leaf
from lean3d.shape import check_axes

__all__ = ["MODES", "PlaneThenDepth", "resize"]

MODES = {mode: mode for mode in ("nearest", "nearest-exact", "area")} | {"bilinear": "trilinear"}


def resize(
    x_BCDHW: Tensor,
    size: Any,
    scale_factor: Any,
    mode: str,
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """F.interpolate by a 2D mode, along three axes; size and scale_factor are (D, H, W)."""
    more: Any = dict(align_corners=align_corners, recompute_scale_factor=recompute_scale_factor)
    if mode in MODES and not antialias:
        return F.interpolate(x_BCDHW, size, scale_factor, MODES[mode], **more)
    more["antialias"] = antialias
    plane, deep = (None, None) if size is None else (size[1:], size[0])
    steps = (None, None) if scale_factor is None else (scale_factor[1:], (scale_factor[0], 1.0))
    y = F.interpolate(x_BCDHW.transpose(1, 2).flatten(0, 1), plane, steps[0], mode, **more)
    y = y.unflatten(0, (x_BCDHW.shape[0], -1)).transpose(1, 2)
    lines = y.flatten(3)  # (B, C, D, H*W): an image whose height is depth
    along = None if deep is None else (deep, lines.shape[3])
    return F.interpolate(lines, along, steps[1], mode, **more).unflatten(3, y.shape[3:])


class PlaneThenDepth(Leaf, nn.Upsample):
    """nn.Upsample by a mode without a 3D form, such as bicubic: on the plane, then along depth.

    Shape: (B, C, D, H, W) -> (B, C, D', H', W').
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        check_axes(x_BCDHW, "B C D H W", self)
        more = (self.mode, self.align_corners, self.recompute_scale_factor)
        return resize(x_BCDHW, self.size, self.scale_factor, *more)
