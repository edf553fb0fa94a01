"""Padding modules: depth gets what height gets."""

from typing import Any

from torch import Tensor, nn

from lean3d.convert.lift import Lift, Site
from lean3d.convert.rules import rule
from lean3d.ops.base import pad_or_crop

__all__ = ["ReflectionPad3d"]


class ReflectionPad3d(nn.ReflectionPad3d):
    """nn.ReflectionPad3d that takes volumes too thin to be reflected: there the border repeats.

    Shape: (B, C, D, H, W) -> (B, C, D', H', W'), the sizes nn.ReflectionPad3d would give.
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        left, right, top, bottom, front, back = self.padding
        amounts = ((front, back), (top, bottom), (left, right))
        sizes = x_BCDHW.shape[-3:]
        if all(size > max(pair) for size, pair in zip(sizes, amounts, strict=True)):
            return super().forward(x_BCDHW)
        for axis, (size, pair) in enumerate(zip(sizes, amounts, strict=True)):
            pads: Any = [(0, 0), (0, 0), (0, 0)]
            pads[axis] = pair
            x_BCDHW = pad_or_crop(x_BCDHW, pads, "reflect" if size > max(pair) else "replicate")
        return x_BCDHW


PADS: dict[type, Any] = {
    nn.ReflectionPad2d: ReflectionPad3d,
    nn.ReplicationPad2d: nn.ReplicationPad3d,
    nn.CircularPad2d: nn.CircularPad3d,
    nn.ZeroPad2d: nn.ZeroPad3d,
}


@rule(Lift, *PADS)
def pad(module: Any, site: Site) -> nn.Module:
    kind = next(PADS[base] for base in type(module).__mro__ if base in PADS)
    return kind(_with_depth(module))


@rule(Lift, nn.ConstantPad2d)
def constant_pad(module: nn.ConstantPad2d, site: Site) -> nn.Module:
    return nn.ConstantPad3d(_with_depth(module), module.value)


def _with_depth(module: Any) -> tuple[int, int, int, int, int, int]:
    left, right, top, bottom = module.padding
    return (left, right, top, bottom, top, bottom)
