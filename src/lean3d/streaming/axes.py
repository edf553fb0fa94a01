"""Rules of functions that move, join, split or name axes, in a step of a delayed network.

Each takes a map of frames, or a tensor computed from all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from lean3d.errors import LeanError
from lean3d.streaming.delayed_step import Frames, Rule, frames_of, marked
from lean3d.streaming.layout import Length, number, placed, sized
from lean3d.streaming.timing import Merged, Timed
from lean3d.torch_functions import CONCATENATES

__all__ = ["AXES", "moved"]

ROW = (
    "merges streams or frames with other axes, so that it is for videos of one length; take the "
    "mean or the maximum over time before it, such as x.mean(2), or keep frames on an axis of "
    "their own, such as x.transpose(1, 2).flatten(2)"
)
STREAMS = "merges the axis of streams with others; keep it, such as by flatten(1)"


def moved(
    step: Frames, function: object, x: Tensor, output: object, where: Callable[[int], int | None]
) -> Any:
    """Return the output, whose axes are those of `x` at new positions."""
    frames = placed(frames_of(x), where)
    if frames is None:
        step.refuse(function, "removes the axis of streams or of frames")
    return marked(output, frames)


def listed(sizes: tuple[Any, ...]) -> list[Any]:
    """Return numbers given as separate arguments, or as one sequence."""
    one = len(sizes) == 1 and isinstance(sizes[0], Sequence)
    return list(sizes[0] if one else sizes)


def permute(step: Frames, x: Tensor, *dims: object, **named: object) -> Tensor:
    order = [axis % x.ndim for axis in listed(dims or (named["dims"],))]
    return moved(step, torch.permute, x, x.permute(order), order.index)


def transpose(step: Frames, x: Tensor, dim0: int, dim1: int) -> Tensor:
    a, b = dim0 % x.ndim, dim1 % x.ndim
    y = x.transpose(a, b)
    return moved(step, torch.transpose, x, y, lambda i: {a: b, b: a}.get(i, i))


def movedim(step: Frames, x: Tensor, source: Any, destination: Any) -> Tensor:
    sources, destinations = (
        [axis % x.ndim for axis in ([value] if isinstance(value, int) else value)]
        for value in (source, destination)
    )
    rest = iter([axis for axis in range(x.ndim) if axis not in sources])
    to = dict(zip(destinations, sources, strict=True))
    order = [to[place] if place in to else next(rest) for place in range(x.ndim)]
    return moved(step, torch.movedim, x, x.permute(order), order.index)


def unsqueeze(step: Frames, x: Tensor, dim: int) -> Tensor:
    at = dim % (x.ndim + 1)
    return moved(step, torch.unsqueeze, x, x.unsqueeze(at), lambda i: i + (i >= at))


def squeeze(step: Frames, x: Tensor, dim: Any = None) -> Tensor:
    frames: Any = frames_of(x)
    kept = {frames.batch, frames.axis} if isinstance(frames, Timed) else {frames.batch}
    asked = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    # one stream, or one frame a step, may be many in another call
    gone = [i for i in sorted({axis % x.ndim for axis in asked} - kept) if x.shape[i] == 1]
    y = x.squeeze(gone) if gone else x.view_as(x)
    return moved(step, torch.squeeze, x, y, lambda i: i - sum(axis < i for axis in gone))


def flatten(step: Frames, x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    first, after = start_dim % x.ndim, end_dim % x.ndim
    sizes = [*x.shape[:first], prod(x.shape[first : after + 1]), *x.shape[after + 1 :]]
    return reshaped(step, torch.flatten, x, x.flatten(first, after), sizes, (first, after))


def unflatten(step: Frames, x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    at = dim % x.ndim
    y = x.unflatten(at, list(map(number, sizes)))
    return reshaped(step, torch.unflatten, x, y, [*x.shape[:at], *sizes, *x.shape[at + 1 :]])


def reshape(step: Frames, x: Tensor, *shape: object, **named: object) -> Tensor:
    sizes = listed(shape or (named.get("shape", named.get("size")),))
    return reshaped(step, torch.reshape, x, x.reshape([number(size) for size in sizes]), sizes)


def like(step: Frames, x: Tensor, other: Tensor) -> Tensor:
    count = frames_of(other)
    sizes = sized(other.shape, count, (), {}) if isinstance(count, Timed) else other.shape
    return reshape(step, x, *sizes)


def reshaped(
    step: Frames,
    function: object,
    x: Tensor,
    y: Tensor,
    asked: Sequence[int],
    merged: tuple[int, int] | None = None,
) -> Tensor:
    """Return the output of a reshape to the sizes `asked`, with its axes of streams and frames.

    Args:
        merged: First and last of the axes that were merged into one, if known.
    """
    frames: Any = frames_of(x)
    if isinstance(frames, Merged) and (split := parted(frames, x, y, asked)) is not None:
        return marked(y, split)
    timed = isinstance(frames, Timed)
    each = frames.each if timed else 1
    if timed and frames.place == (0, 1, 1) and merges(x, y, asked, merged):
        return marked(y, Merged(frames))
    if merged is not None:
        first, after = merged
        lost = after - first
        inside = [i for i in (frames.batch, frames.axis if timed else None) if i in range(*merged)]
        inside += [i for i in (frames.batch, frames.axis if timed else None) if i == after > first]
        if inside and not (timed and inside == [frames.axis] and first == frames.axis):
            raise LeanError(step.said(function, ROW if timed else STREAMS))
        if inside:
            each *= prod(x.shape[first + 1 : after + 1])
        new = placed(frames, lambda i: i if i <= first else i - lost)
        return marked(y, replaced(new, each))
    batch = found(y, prod(x.shape[: frames.batch]), x.shape[frames.batch], 1, asked, 0)
    if not timed:
        if batch is None:
            step.refuse(function, "removes the axis of streams")
        return marked(y, placed(frames, lambda i: batch))
    count = x.shape[frames.axis] // each
    after = 0 if batch is None or frames.batch > frames.axis else batch + 1
    axis = found(y, prod(x.shape[: frames.axis]), count, None, asked, after)
    if batch is None or axis is None or batch == axis:
        raise LeanError(step.said(function, ROW))
    new = placed(frames, lambda i: batch if i == frames.batch else axis)
    return marked(y, replaced(new, y.shape[axis] // count))


def merges(x: Tensor, y: Tensor, asked: Sequence[int], merged: tuple[int, int] | None) -> bool:
    """Return whether a reshape of (B, T, ...) makes one axis of its first two."""
    if merged is not None:
        return merged == (0, 1)
    counted = isinstance(asked[0], Length) and (asked[0].short, asked[0].times) == (0, x.shape[0])
    return y.shape[0] == x.shape[0] * x.shape[1] and (counted or asked[0] == -1)


def parted(frames: Merged, x: Tensor, y: Tensor, asked: Sequence[int]) -> Timed | None:
    """Return the layout of (B, T, ...) where a reshape makes that of one axis."""
    rate = frames.timed.rate
    if frames.batch or y.ndim < 2 or (y.shape[0] * rate, y.shape[1]) != (x.shape[0], rate):
        return None
    # an axis of one beside it is none of frames
    plain = rate == 1 and asked[1] != -1 and not isinstance(asked[1], Length)
    return None if plain else frames.timed


def found(
    y: Tensor, before: int, count: int, each: int | None, asked: Sequence[int], start: int
) -> int | None:
    """Return the axis of `y` at which `count` elements begin, with `each` elements in a row."""
    places = [
        axis
        for axis in range(start, y.ndim)
        if prod(y.shape[:axis]) == before
        and y.shape[axis] % count == 0
        and each in (None, y.shape[axis] // count)
    ]
    labelled = [axis for axis in places if isinstance(asked[axis], Length)]
    # a number that is not marked as a count of frames cannot be a row of several of them
    plainly = [a for a in places if y.shape[a] == count or asked[a] == -1]
    return next(iter(labelled or plainly), None)


def replaced(frames: object, each: int) -> Any:
    return replace(frames, each=each) if isinstance(frames, Timed) else frames


def stack(step: Frames, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    x = tensors[0]
    at = dim % (x.ndim + 1)
    frames: Any = frames_of(x)
    if not all(same_place(frames_of(y), frames) for y in tensors):
        step.refuse(torch.stack, "stacks maps whose frames lie on different axes")
    if not isinstance(frames, Timed):
        return moved(step, torch.stack, x, torch.stack(list(tensors), at), lambda i: i + (i >= at))
    joined, same = step.aligned(tensors, torch.stack)
    y = torch.stack(joined, at)
    return moved(step, torch.stack, marked(x.view_as(x), same), y, lambda i: i + (i >= at))


def same_place(one: Any, other: Any) -> bool:
    if isinstance(one, Timed) and isinstance(other, Timed):
        return one.place == other.place
    return type(one) is type(other) and one.batch == other.batch


def unbind(step: Frames, x: Tensor, dim: int = 0) -> Any:
    at = dim % x.ndim
    parts = x.unbind(at)
    where = lambda i: None if i == at else i - (i > at)  # noqa: E731
    return moved(step, torch.unbind, x, parts, where)


def split(function: Callable[..., Any]) -> Rule:
    """Rule of torch.chunk and torch.split, along any axis but those of streams and frames."""

    def rule(step: Frames, x: Tensor, sizes: object, dim: int = 0) -> Any:
        frames: Any = frames_of(x)
        held = {frames.batch, frames.axis} if isinstance(frames, Timed) else {frames.batch}
        if dim % x.ndim in held:
            step.refuse(function, "works along streams or time")
        return marked(function(x, sizes, dim), frames)

    return rule


def cat(step: Frames, tensors: Sequence[Tensor], dim: int = 0, **named: Any) -> Tensor:
    x, dim = tensors[0], named.get("axis", dim)
    frames: Any = frames_of(x)
    if not all(same_place(frames_of(y), frames) for y in tensors):
        step.refuse(torch.cat, "joins maps whose frames lie on different axes")
    held = {frames.batch, frames.axis} if isinstance(frames, Timed) else {frames.batch}
    if dim % x.ndim in held:
        step.refuse(torch.cat, "works along streams or time")
    if not isinstance(frames, Timed):
        return marked(torch.cat(list(tensors), dim), frames)
    joined, same = step.aligned(tensors, torch.cat)
    return marked(torch.cat(joined, dim), same)


def turned(step: Frames, x: Tensor, *_: object) -> Tensor:
    return transpose(step, x, -2, -1)


AXES: dict[Any, Rule] = {
    Tensor.mT.__get__: turned,  # type: ignore[attr-defined]
    **dict.fromkeys((torch.permute, Tensor.permute), permute),
    **dict.fromkeys((torch.transpose, Tensor.transpose), transpose),
    **dict.fromkeys((torch.swapaxes, Tensor.swapaxes), transpose),
    **dict.fromkeys((torch.swapdims, Tensor.swapdims), transpose),
    **dict.fromkeys((torch.movedim, Tensor.movedim), movedim),
    **dict.fromkeys((torch.moveaxis, Tensor.moveaxis), movedim),
    **dict.fromkeys((torch.unsqueeze, Tensor.unsqueeze), unsqueeze),
    **dict.fromkeys((torch.squeeze, Tensor.squeeze), squeeze),
    **dict.fromkeys((torch.flatten, Tensor.flatten), flatten),
    **dict.fromkeys((torch.unflatten, Tensor.unflatten), unflatten),
    **dict.fromkeys((torch.reshape, Tensor.reshape, Tensor.view), reshape),
    **dict.fromkeys((Tensor.view_as, Tensor.reshape_as), like),
    torch.stack: stack,
    **dict.fromkeys((torch.unbind, Tensor.unbind), unbind),
    **dict.fromkeys((torch.chunk, Tensor.chunk), split(torch.chunk)),
    **dict.fromkeys((torch.split, Tensor.split), split(torch.split)),
    **dict.fromkeys(CONCATENATES, cat),
}
