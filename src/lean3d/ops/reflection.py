"""Reflection padding of volumes that may be too thin for it.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

from torch import Tensor, nn

from lean3d.ops.leaf import Leaf
from lean3d.ops.padding import pad_or_crop
from lean3d.ops.recorded import holds

__all__ = ["ReflectionPad3d"]


class ReflectionPad3d(Leaf, nn.ReflectionPad3d):
    """nn.ReflectionPad3d that replicates the border of volumes too thin to be reflected.

    Shape: (B, C, D, H, W) -> (B, C, D', H', W'), the sizes nn.ReflectionPad3d would give.
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        left, right, top, bottom, front, back = self.padding
        amounts = ((front, back), (top, bottom), (left, right))
        both = list(zip(x_BCDHW.shape[-3:], amounts, strict=True))
        # a program exported for many sizes reflects, and refuses thin volumes as torch does
        if not any(holds(size <= max(pair)) for size, pair in both):
            return super().forward(x_BCDHW)
        for axis, (size, pair) in enumerate(both):
            pads: Any = [(0, 0), (0, 0), (0, 0)]
            pads[axis] = pair
            mode = "reflect" if holds(size > max(pair)) else "replicate"
            x_BCDHW = pad_or_crop(x_BCDHW, pads, mode)
        return x_BCDHW
