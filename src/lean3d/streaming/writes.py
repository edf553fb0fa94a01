"""Rules of functions that put frames together, in a step of a delayed network: writing into a map,
and joining it along time with frames that are the same in every video.

A temporal shift (TSM, Lin et al., ICCV 2019) is written either way.

Axes: B batch (streams), C channels, T time.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lean3d.streaming.axes import AXES
from lean3d.streaming.delayed_step import Edge, Frames, Rule, frames_of, marked
from lean3d.streaming.layout import apart, over, placed, put_back
from lean3d.streaming.slices import ALL, from_end, in_time, spelt_out, walked
from lean3d.streaming.timing import Timed, Window
from lean3d.torch_functions import CONCATENATES

__all__ = ["WRITES"]


def write(step: Frames, x: Tensor, key: object, value: Any) -> None:
    """`x[key] = value`: a map, or a number, into all frames but the first or last few."""
    function, frames = Tensor.__setitem__, frames_of(x)
    if frames is None and isinstance(frames_of(value), Timed):
        frames = _of_constants(step, x, value)
    if not isinstance(frames, Timed) or frames.each != 1:
        step.refuse(function, "writes into a tensor that has no axis of frames of its own")
    parts = spelt_out(key if isinstance(key, tuple) else (key,), x.ndim)
    if not all(isinstance(part, slice | int) for part in parts):
        step.refuse(function, "indexes with more than slices and whole numbers")
    time, part = frames.axis, parts[frames.axis]
    start, stop = (
        (from_end(part.start) or 0, from_end(part.stop)) if isinstance(part, slice) else (-1, None)
    )
    if parts[frames.batch] != ALL or start < 0 or (stop or -1) >= 0 or part.step not in (None, 1):
        step.refuse(function, "writes into some of the streams, or into a fixed number of frames")
    parts[time] = ALL
    kept = [axis for axis in range(x.ndim) if not isinstance(parts[axis], int)]
    inner: Any = placed(frames, lambda i: kept.index(i) if i in kept else None)
    if not isinstance(frames_of(value), Timed):
        value = torch.zeros_like(x[tuple(parts)]) + value
        value = in_time(step, marked(value, inner), part, function)
    given: Any = frames_of(value)
    more = len(kept) - value.ndim
    if (given.batch + more, given.axis + more, given.each) != inner.place:
        step.refuse(function, "writes a map whose frames lie on another axis")
    value = walked(step, value, Window(1, 1, start, -(stop or 0)))
    (whole, new), same = step.aligned([marked(x, frames), value], function)
    # of the map written into: a video may have fewer frames than a slice leaves out
    same = replace(same, length=frames.length, extra=frames.extra)
    same = replace(same, batch=frames.batch, axis=time, each=1)
    if whole is not x:
        x.copy_(whole)
    inside_BT = _positions(step, same) >= start
    if same.length is not None:
        inside_BT &= _positions(step, same) < same.length[:, None] + (stop or 0)
    region = x[tuple(parts)]
    x[tuple(parts)] = torch.where(over(inside_BT, inner, region.ndim), new, region)
    marked(x, same)


def _of_constants(step: Frames, x: Tensor, value: Tensor) -> Timed | None:
    """Return the layout of a map of zeros, made with the sizes of a map of the whole video."""
    given: Any = frames_of(value)
    alike = x.ndim == value.ndim and x.shape[given.axis] == step.clock.chunk
    start = step.clock.start()
    return replace(start, batch=given.batch, axis=given.axis) if alike else None


def _positions(step: Frames, frames: Timed) -> Tensor:
    """Return (B, T) the positions in time of the frames of a step."""
    first_B = step.clock.before(frames)
    return first_B[:, None] + torch.arange(frames.rate, device=first_B.device)


def cat(step: Frames, tensors: Sequence[Tensor], dim: int = 0, **named: Any) -> Tensor:
    """Join a map along time with frames before its first or after its last, such as zeros."""
    at = named.get("axis", dim)
    maps = [i for i, x in enumerate(tensors) if isinstance(frames_of(x), Timed)]
    given: Any = frames_of(tensors[maps[0]]) if len(maps) == 1 else None
    if given is None or at % tensors[0].ndim != given.axis or given.each != 1:
        if any(isinstance(frames_of(x), Edge) for x in tensors):
            step.refuse(Tensor.__getitem__, Edge.why)
        return AXES[torch.cat](step, tensors, at)
    x = tensors[maps[0]]
    ends = [_same_in_every_video(step, y) for i, y in enumerate(tensors) if i != maps[0]]
    before, after = ends[: maps[0]], ends[maps[0] :]
    counts = [sum(y.shape[given.axis] for y in each) for each in (before, after)]
    x = walked(step, x, Window(1, 1, *counts))
    made: Any = frames_of(x)
    if made.length is not None:
        # a video may be too short for such slices
        for y in tensors:
            short: Any = frames_of(y)
            if isinstance(short, Edge) and short.length is not None:
                lacking = (y.shape[given.axis] - short.length).clamp(min=0)
                made = replace(made, length=(made.length - lacking).clamp(min=0))
    place_BT, y = _positions(step, made), apart(x, made)
    if counts[0]:
        y = _put(y, place_BT, torch.cat(before, at), made)
    if counts[1] and made.length is not None:
        place_BT = place_BT - (made.length[:, None] - counts[1])
        y = _put(y, place_BT, torch.cat(after, at), made)
    return marked(put_back(y, made, x.ndim), made)


def _same_in_every_video(step: Frames, x: Tensor) -> Tensor:
    """Return frames without their mark; refuse those that depend on the video."""
    if isinstance(frames_of(x), Edge):
        if step.clock.careful and not bool((x == x.flatten()[0]).all()):
            step.refuse(Tensor.__getitem__, Edge.why)
    elif frames_of(x) is not None:
        step.refuse(torch.cat, "works along streams or time")
    return x.detach().view_as(x)


def _put(y: Tensor, place_BT: Tensor, frames: Tensor, layout: Timed) -> Tensor:
    """Put `frames` where their places are."""
    new = apart(frames.to(y.dtype), layout)
    plain = replace(layout, batch=0, axis=2)
    inside_BT = (place_BT >= 0) & (place_BT < new.shape[2])
    index_BT = place_BT.clamp(0, new.shape[2] - 1)
    index = over(index_BT, plain, y.ndim).expand(*y.shape[:3], *y.shape[3:])
    return torch.where(over(inside_BT, plain, y.ndim), new.gather(2, index), y)


WRITES: dict[Any, Rule] = {
    Tensor.__setitem__: write,
    **dict.fromkeys(CONCATENATES, cat),
}
