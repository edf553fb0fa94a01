"""Depth that is carried by what a merged forward computes with: by its sizes, and by its maps.

What a forward computes from `x.shape[2]` (a size, a padding, the ends of a crop) is computed from
the depth of `x` too, by the same arithmetic, so that no rule has to guess it. Comparisons, `int()`,
`max()` and `min()` are those of the height.

Axes: B batch, C channels, D depth, H height, W width.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lean3d.conversion.trace.compare import tensors
from lean3d.shape import sizes

__all__ = [
    "Ratio",
    "Side",
    "along_depth",
    "carries",
    "is_marked",
    "mark",
    "marked_depth",
    "plain",
    "with_depth",
]

MARK = "_lean3d_merged"

# functions that return the sizes of a tensor


class Carried:
    """A number made of a height, and what the same arithmetic makes of the depth."""

    depth: Any

    def __reduce__(self) -> Any:
        return type(plain(self)), (plain(self),)


class Side(Carried, int):
    """A whole number.

    Args:
        whole: It is the height of a map, unchanged.
    """

    def __new__(cls, height: int, depth: int, whole: bool = False) -> "Side":
        self = super().__new__(cls, height)
        self.depth, self.whole = depth, whole
        return self

    whole: bool


class Ratio(Carried, float):
    """A fraction of a height, or a multiple that is not whole."""

    def __new__(cls, height: float, depth: float) -> "Ratio":
        self = super().__new__(cls, height)
        self.depth = depth
        return self


def plain(value: Any) -> Any:
    """Return the heights alone, of a number or of nested tuples; anything else is unchanged."""
    if type(value) is tuple:
        return tuple(map(plain, value))
    if isinstance(value, Side):
        return int(value)
    return float(value) if isinstance(value, Ratio) else value


def along_depth(value: Any) -> Any:
    """Return the depths alone; what carries none is the same along depth."""
    if type(value) is tuple:
        return tuple(map(along_depth, value))
    return value.depth if isinstance(value, Carried) else value


def carries(*values: object) -> bool:
    """Whether a depth is known of one of some sizes."""
    return any(isinstance(value, Carried) for value in values)


def mark(value: object, depth: int = 0) -> Any:
    """Note on tensors that depth is merged into one of their axes."""
    for x in tensors(value):
        setattr(x, MARK, depth)
    return value


def marked_depth(value: object) -> int | None:
    """Return the depth noted on the first of some tensors that has one."""
    return next((depth for x in tensors(value) if (depth := getattr(x, MARK, None))), None)


def is_marked(value: object) -> bool:
    """Whether one of some tensors has depth in its batch; the weights of a model have not."""
    return any(hasattr(x, MARK) for x in tensors(value))


def with_depth(found: Any, x: Tensor, axis: object, batch: int) -> Any:
    """Return the result of `shape` or `size(axis)` of (B*D, C, H, W), whose height carries D."""
    if x.ndim != 4 or not hasattr(x, MARK) or axis not in (None, 2, -2):
        return found
    images, channels, height, width = sizes(x)
    if not all(type(size) is int for size in (images, height)) or images % int(batch):
        return found
    # the batch is a tensor while torch.jit.trace records
    side = Side(height, images // int(batch), whole=True)
    return side if axis is not None else torch.Size((images, channels, side, width))


def _both(function: Callable[..., Any], *values: Any) -> Any:
    if not all(isinstance(value, (int, float)) for value in values):
        return NotImplemented
    height = function(*map(plain, values))
    try:
        depth = function(*map(along_depth, values))
    except ArithmeticError:
        return height
    if isinstance(height, tuple):
        return tuple(map(_carried, height, depth))
    return _carried(height, depth)


def _carried(height: Any, depth: Any) -> Any:
    return Side(height, depth) if isinstance(height, int) else Ratio(height, depth)


def _forwards(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *others: _both(function, self, *others)


def _backwards(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: _both(function, other, self)


for name in ("add", "sub", "mul", "floordiv", "truediv", "mod"):
    for kind in (Side, Ratio):
        setattr(kind, f"__{name}__", _forwards(getattr(operator, name)))
        setattr(kind, f"__r{name}__", _backwards(getattr(operator, name)))
for kind in (Side, Ratio):
    kind.__divmod__, kind.__rdivmod__ = _forwards(divmod), _backwards(divmod)  # type: ignore[method-assign]
    kind.__neg__, kind.__round__ = _forwards(operator.neg), _forwards(round)  # type: ignore[method-assign]
    kind.__floor__, kind.__ceil__ = _forwards(math.floor), _forwards(math.ceil)  # type: ignore[method-assign]
