"""Self-check helper: replicate padding along the axis on which the test volume is constant.

Zero padding is right in use, but the 2D model has no such border, so along the constant axis
the border voxels are replicated instead.

Axes: D depth, H height, W width are 0, 1, 2.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lean3d.ops import PlanarConv3d
from lean3d.ops.cond_conv import RoutedConv3d
from lean3d.ops.padding import pad_or_crop
from lean3d.shape import triple

__all__ = ["replicate_along"]

Pair = tuple[int, int]


def replicate_along(module: nn.Module, axis: int) -> None:
    """Replace the module's zero padding along `axis` by replicate padding."""
    if isinstance(module, RoutedConv3d):
        module.constant_axis = axis
        return replicate_along(module.operator, axis)
    before, after = _take_padding(module, axis)
    if before or after:
        module.register_forward_pre_hook(_repeat(axis, (before, after)))


def _take_padding(module: object, axis: int) -> Pair:
    """Remove the zero padding along `axis`, and return its amounts."""
    if isinstance(module, PlanarConv3d) and module.padding_mode == "zeros":
        taken = module.pads[axis]
        module.pads = _with(module.pads, axis, (0, 0))
        return taken
    if isinstance(module, nn.AvgPool3d):
        pads = triple(module.padding)
        module.padding = _with(pads, axis, 0)
        return (pads[axis], pads[axis])
    if isinstance(module, nn.ConstantPad3d):  # nn.ZeroPad3d is one
        first = 2 * (2 - axis)  # its padding starts with the last axis
        sides: Any = module.padding
        module.padding = _with(_with(sides, first, 0), first + 1, 0)
        return (sides[first], sides[first + 1])
    return (0, 0)


def _with(values: Any, place: int, value: object) -> Any:
    return tuple(value if index == place else other for index, other in enumerate(values))


def _repeat(axis: int, pair: Pair) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    pads = _with(((0, 0),) * 3, axis, pair)

    def extend(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (pad_or_crop(inputs[0], pads, "replicate"), *inputs[1:])

    return extend
