"""Layout of streams and frames in a network's tensors, as axes are moved, merged and measured.

Axes: B batch (streams), C channels, T time.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lean3d.errors import LeanError
from lean3d.streaming.timing import PLAIN, Merged, Pooled, Timed

__all__ = ["Length", "apart", "counted", "number", "over", "placed", "plain", "put_back", "sized"]


class Length(int):
    """The number of frames of a map, as `shape` returns it in a step.

    Args:
        short: Frames added to it (negative: removed).
        times: The factor it was multiplied with.
    """

    def __new__(cls, value: int, short: int = 0, times: int = 1) -> "Length":
        self = super().__new__(cls, value)
        self.short, self.times = short, times
        return self

    short: int
    times: int

    @property
    def whole(self) -> bool:
        """Whether it is the number of all frames."""
        return (self.short, self.times) == (0, 1)

    def _moved(self, by: object, sign: int) -> Any:
        if type(by) is not int or self.times != 1:
            return NotImplemented
        return Length(int(self) + sign * by, self.short + sign * by)

    def __add__(self, other: Any) -> Any:
        moved = self._moved(other, 1)
        return int(self) + other if moved is NotImplemented else moved

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        moved = self._moved(other, -1)
        return int(self) - other if moved is NotImplemented else moved

    def __mul__(self, other: Any) -> Any:
        if type(other) is not int or self.short:
            return int(self) * other
        return Length(int(self) * other, 0, self.times * other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if type(other) is not int or self.short or not other or self.times % other:
            return int(self) // other
        return Length(int(self) // other, 0, self.times // other)

    def _ordered(self, compare: Callable[[Any, Any], Any], other: Any) -> Any:
        """Compare with a number, which must give the same for a step and for a long video."""
        here = compare(int(self), other)
        # what was multiplied counts voxels, by which a kernel is chosen
        alone = self.times == 1 and not isinstance(other, Length)
        if alone and here != compare(math.inf, other):
            raise LeanError(
                f"stream(wait=True): the forward compares the number of frames of a map with "
                f"{other}, and does something else in a step than for a long video; let it do the "
                "same for every number of frames"
            )
        return here

    def __lt__(self, other: Any) -> Any:
        return self._ordered(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return self._ordered(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return self._ordered(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return self._ordered(operator.ge, other)


def number(size: object) -> Any:
    """Return a size as a plain number; that of an export is unchanged."""
    return int(size) if isinstance(size, Length) else size


def sized(size: Any, x: Timed, asked: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return the result of `shape` or `size(asked)`, with the number of frames marked as such."""
    if x.each != 1:
        return size
    if isinstance(size, torch.Size):
        sizes = list(size)
        sizes[x.axis] = Length(sizes[x.axis])
        return torch.Size(sizes)
    (at,) = asked or named.values()
    return Length(size) if at == x.axis else size


def counted(size: Any, x: Merged, asked: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return the result of `shape` or `size(asked)`, with streams times frames marked as such."""
    rate = x.timed.rate
    if isinstance(size, torch.Size):
        sizes = list(size)
        sizes[x.batch] = Length(sizes[x.batch], 0, sizes[x.batch] // rate)
        return torch.Size(sizes)
    (at,) = asked or named.values()
    return Length(size, 0, size // rate) if at == x.batch else size


def apart(x: Tensor, frames: Timed) -> Tensor:
    """Return (B, C, T, ...), wherever streams and frames were; C is 1 if there is no such axis."""
    if frames.place == PLAIN and x.ndim > 2:
        return x
    if frames.each != 1:
        x = x.unflatten(frames.axis, (x.shape[frames.axis] // frames.each, frames.each))
    batch = frames.batch + (frames.each != 1 and frames.batch > frames.axis)
    x = x.movedim((batch, frames.axis), (0, 1))
    return x.unsqueeze(1) if x.ndim == 2 else x.movedim(1, 2)


def put_back(x_BCT: Tensor, frames: Timed, ndim: int) -> Tensor:
    """The reverse of `apart` for a map of `ndim` axes."""
    if frames.place == PLAIN and ndim > 2:
        return x_BCT
    x = x_BCT.squeeze(1) if ndim == 2 and frames.each == 1 else x_BCT.movedim(2, 1)
    batch = frames.batch + (frames.each != 1 and frames.batch > frames.axis)
    x = x.movedim((0, 1), (batch, frames.axis))
    return x.flatten(frames.axis, frames.axis + 1) if frames.each != 1 else x


def over(flags_BT: Tensor, x: Timed, ndim: int) -> Tensor:
    """Return (B, T) flags with axes of one, to broadcast with a map of `ndim` axes."""
    flags = flags_BT.repeat_interleave(x.each, 1) if x.each != 1 else flags_BT
    if x.batch > x.axis:
        flags = flags.transpose(0, 1)
    sizes = [1] * ndim
    sizes[x.batch], sizes[x.axis] = flags_BT.shape[0], flags_BT.shape[1] * x.each
    return flags.reshape(sizes)


def plain(flags_B: Tensor, x: Pooled, ndim: int) -> Tensor:
    """Return (B,) flags with axes of one, to broadcast with a tensor without frames."""
    # no len(), which would fix the number of streams of an export
    sizes = [1] * ndim
    sizes[x.batch] = flags_B.shape[0]
    return flags_B.reshape(sizes)


def placed(frames: Any, where: Callable[[int], int | None]) -> Any:
    """Return the layout after axes were moved; None if those of streams or frames are gone.

    Args:
        where: Returns the new position of an old axis, None if it is gone.
    """
    batch = where(frames.batch)
    if batch is None:
        return None
    if isinstance(frames, Pooled | Merged):
        return replace(frames, batch=batch)
    axis = where(frames.axis)
    return None if axis is None or axis == batch else replace(frames, batch=batch, axis=axis)
