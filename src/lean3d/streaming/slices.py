"""Slices and padding, over time too, in a step of a delayed network.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.streaming.delayed_step import Edge, Frames, Rule, frames_of, marked
from lean3d.streaming.layout import Length, number, placed, put_back
from lean3d.streaming.pooling import last, over_time
from lean3d.streaming.timing import Timed, Window

__all__ = ["PADS", "SLICES"]

ALL = slice(None)


def walked(step: Frames, x: Tensor, over: Window, fill: float = 0.0) -> Tensor:
    """Return the frames of a window of one frame, unchanged."""
    given: Any = frames_of(x)
    y, made = step.walk(x, over, fill)
    y = y[:, :, :: over.stride]
    made = replace(made, batch=given.batch, axis=given.axis, each=given.each)
    return marked(put_back(y, given, x.ndim), made)


def at(step: Frames, x: Tensor, key: object) -> Tensor:
    frames: Any = frames_of(x)
    parts = spelt_out(key if isinstance(key, tuple) else (key,), x.ndim)
    if not all(part is None or isinstance(part, slice | int) for part in parts):
        step.refuse(Tensor.__getitem__, "indexes with more than slices and whole numbers")
    own = [place for place, part in enumerate(parts) if part is not None]
    if parts[own[frames.batch]] != ALL:
        step.refuse(Tensor.__getitem__, "takes some streams")
    if isinstance(frames, Timed) and (part := parts[own[frames.axis]]) != ALL:
        if count := few(part):
            parts[own[frames.axis]] = slice(0, 1)
            y = x[tuple(parts)].expand(repeated(parts, own[frames.axis], count))
            return marked(y, Edge(frames.length))
        # a copy: `y[:, :, 1:] += 1` writes it into the map afterwards
        x = copied(in_time(step, x, part, Tensor.__getitem__))
        parts[own[frames.axis]] = ALL if isinstance(part, slice) else 0
        frames = frames_of(x)
    kept = [place for place in range(len(parts)) if not isinstance(parts[place], int)]
    where = lambda i: kept.index(own[i]) if own[i] in kept else None  # noqa: E731
    return marked(x[tuple(parts)], placed(frames, where))


def copied(x: Tensor) -> Tensor:
    return marked(x.clone(), frames_of(x))  # type: ignore[arg-type]


def repeated(parts: Sequence[Any], place: int, count: int) -> list[int]:
    """Return the sizes for `expand` that repeat one axis of what `parts` selects."""
    kept = [at for at, part in enumerate(parts) if not isinstance(part, int)]
    return [count if at == place else -1 for at in kept]


def few(part: Any) -> int:
    """Return the number of frames of a slice of the first or the last few; else 0."""
    if not isinstance(part, slice) or part.step not in (None, 1):
        return 0
    start, stop = from_end(part.start) or 0, from_end(part.stop)
    if start >= 0 and stop is not None and not isinstance(part.stop, Length):
        return max(int(stop) - int(start), 0) if stop > 0 else 0
    return -int(start) if stop is None and start < -1 else 0


def spelt_out(parts: Sequence[Any], ndim: int) -> list[Any]:
    """Return one index for every axis, and None for every new one."""
    given = list(parts)
    more = ndim - sum(part is not None and part is not Ellipsis for part in given)
    dots = next((i for i, part in enumerate(given) if part is Ellipsis), len(given))
    return given[:dots] + [ALL] * more + given[dots + 1 :]


def in_time(step: Frames, x: Tensor, part: Any, function: object) -> Tensor:
    """Select frames by their index from the first, or from the last."""
    given: Any = frames_of(x)
    if given.each != 1:
        step.refuse(function, "indexes time and the axis that frames share with it at once")
    if isinstance(part, int):
        if from_end(part) != -1:
            step.refuse(function, "takes a single frame that is not the last")
        return over_time(step, x, last)
    start, stop = from_end(part.start) or 0, from_end(part.stop)
    if (start, stop, part.step) == (-1, None, None):
        return over_time(step, x, last)
    if start < 0 or (stop is not None and stop >= 0):
        step.refuse(
            function,
            "takes a fixed number of frames, not all but the first or last few",
        )
    return walked(step, x, Window(1, part.step or 1, -int(start), stop or 0))


def from_end(place: object) -> Any:
    """Return -2 for `x.shape[2] - 2`; None for `x.shape[2]`."""
    if isinstance(place, Length) and place.times == 1:
        return place.short or None
    return number(place)


def narrow(step: Frames, x: Tensor, dim: int, start: int, length: int) -> Tensor:
    frames: Any = frames_of(x)
    axis = dim % x.ndim
    if axis == frames.batch:
        step.refuse(torch.narrow, "takes some streams")
    if not isinstance(frames, Timed) or axis != frames.axis:
        return marked(x.narrow(axis, start, length), frames)
    if not isinstance(length, Length) or length.times != 1:
        step.refuse(
            torch.narrow,
            "takes a fixed number of frames, not all but the first or last few",
        )
    # all frames from `start` on, and `short` more, with `short` negative
    stop = start + length.short
    return in_time(step, x, slice(start, stop if stop else None), torch.narrow)


def select(step: Frames, x: Tensor, dim: int, index: int) -> Tensor:
    return at(step, x, (*[ALL] * (dim % x.ndim), index))


def pad(
    step: Frames, x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    frames: Any = frames_of(x)
    amounts = [*map(int, pad), *[0] * (2 * x.ndim - len(pad))]
    sides = {axis: 2 * (x.ndim - 1 - axis) for axis in range(x.ndim)}
    first = sides[frames.batch]
    if any(amounts[first : first + 2]):
        step.refuse(F.pad, "adds streams")
    if isinstance(frames, Timed):
        first = sides[frames.axis]
        before, after = time = amounts[first], amounts[first + 1]
        if any(time):
            known = mode == "constant" or (mode == "replicate" and min(time) >= 0)
            if not known or frames.each != 1:
                step.refuse(F.pad, f"pads time by {time} frames with mode={mode!r}")
            over = Window(1, 1, before, after, mode == "replicate")
            x = walked(step, x, over, value or 0.0)
            frames = frames_of(x)
        amounts[first : first + 2] = 0, 0
    return marked(F.pad(x, amounts[: len(pad)], mode, value), frames)


SLICES: dict[Any, Rule] = {
    Tensor.__getitem__: at,
    **dict.fromkeys((torch.narrow, Tensor.narrow), narrow),
    **dict.fromkeys((torch.select, Tensor.select), select),
}
PADS: dict[Any, Rule] = {F.pad: pad}
