"""Run an unchanged network for one step of a stream: rules of functions on delayed frames.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from lean3d.errors import LeanError
from lean3d.ops.memory import Memory
from lean3d.streaming.framewise_ops import JOINS, keeps_frames
from lean3d.streaming.layout import apart, counted, over, plain, put_back, sized
from lean3d.streaming.timing import (
    PLAIN,
    Clock,
    Merged,
    Pooled,
    Timed,
    Window,
    latest,
    same_rate,
)
from lean3d.torch_functions import SIZES

__all__ = ["Edge", "Frames", "Rule", "frames_of", "marked"]

MARK = "_lean3d_frames"
Rule = Callable[..., Any]


@dataclass(frozen=True)
class Edge:
    """Marks the first or last few frames of a map, of which only the size is used in a step.

    Args:
        length: (B,) how many frames the map has in all; None while no stream has ended.
    """

    length: Tensor | None
    why: ClassVar[str] = "takes a fixed number of frames, not all but the first or last few"


Mark: TypeAlias = Timed | Pooled | Merged | Edge
JOINED = (
    "joins a mean over all time with single frames; it is known when the video has ended, so no "
    "delay makes the outputs exact: make the model causal by lean3d.convert(model, "
    "lean3d.Dissect()), where it is a mean over the past"
)
# functions that only use the size of a tensor
FRESH = {Tensor.new_zeros, Tensor.new_ones, Tensor.new_full}
LIKE = {torch.zeros_like, torch.ones_like, torch.full_like, *FRESH}


def frames_of(x: object) -> Mark | None:
    return getattr(x, MARK, None) if isinstance(x, Tensor) else None


def marked(output: object, frames: Mark) -> Any:
    """Attach the layout of frames to every tensor of an output."""
    for y in [output] if isinstance(output, Tensor) else tree_leaves(output):
        if isinstance(y, Tensor):
            setattr(y, MARK, frames)
    return output


def marks(values: Iterable[Any]) -> list[Mark]:
    """Return the layouts of frames of the tensors among the arguments; this runs at every call."""
    found: list[Any] = []
    for x in values:
        if isinstance(x, Tensor):
            frames = getattr(x, MARK, None)
            found += [] if frames is None else [frames]
        elif isinstance(x, tuple | list):
            found += marks(x)
    return found


def unmarked(y: Tensor) -> Tensor:
    """Return plain tensors, for the outputs of a step."""
    if hasattr(y, MARK):
        delattr(y, MARK)
    return y


class Frames(TorchFunctionMode):
    """One step: tracks the axis of frames through every call on a feature map.

    Args:
        calls: Rules of the functions that combine several frames, or move their axis.
        pooled: Those of them that also take tensors without frames.
        site: Names a state slot for the module that is running.
        place: The path of that module.
        window: Frames of the video that a mean over time covers; None for all so far.
    """

    def __init__(
        self,
        memory: Memory,
        clock: Clock,
        calls: Mapping[Any, Rule],
        pooled: Mapping[Any, Rule],
        site: Callable[[str], str],
        place: Callable[[], str],
        window: int | None,
    ):
        super().__init__()
        self.memory, self.clock, self.calls, self.pooled = memory, clock, calls, pooled
        self.site, self.place, self.window = site, place, window
        self.alive = torch.ones_like(clock.seen, dtype=torch.bool)

    def __torch_function__(self, function: Any, types: object, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        found = marks([*args, *kwargs.values()])
        timed = [x for x in found if isinstance(x, Timed)]
        pooled = [x for x in found if isinstance(x, Pooled)]
        rest = len(timed) + len(pooled) < len(found)
        if rest and (merged := [x for x in found if isinstance(x, Merged)]):
            if len(merged) < len(found):
                self.refuse(
                    function, "combines other maps with one whose streams and frames share an axis"
                )
            return self.on_one_axis(function, args, kwargs, merged)
        if rest and function not in self.calls:
            return self.sizes_alone(function, args, kwargs)
        if timed and pooled:
            raise LeanError(self.said(function, JOINED))
        if pooled:
            return self.after_frames(function, args, kwargs, pooled)
        if not timed or function in FRESH:
            return function(*args, **kwargs)
        if function in self.calls:
            return self.calls[function](self, *args, **kwargs)
        if function in JOINS:
            return self.join(function, args, kwargs)
        output = function(*args, **kwargs)
        if function in SIZES:
            return sized(output, timed[0], args[1:], kwargs)
        if isinstance(output, Tensor) or any(isinstance(y, Tensor) for y in tree_leaves(output)):
            if not keeps_frames(function, args, kwargs, timed[0]):
                self.refuse(function, "may mix frames")
            marked(output, timed[0])
        return output

    def on_one_axis(self, function: Any, args: Any, kwargs: Any, merged: list[Merged]) -> Any:
        """Run a call on (B * T, ...): each frame is a sample of its own."""
        if len({x.timed.delay for x in merged}) > 1:
            args, merged = self.together(function, args)
        if function in self.pooled:
            return self.pooled[function](self, *args, **kwargs)
        output = function(*args, **kwargs)
        if function in SIZES:
            return counted(output, merged[0], args[1:], kwargs)
        return marked(output, merged[0])

    def together(self, function: Any, args: Any) -> tuple[Any, list[Merged]]:
        """Return the arguments of a call on (B * T, ...), the earlier ones delayed."""
        maps = [x for x in tree_leaves(args) if isinstance(frames_of(x), Merged)]
        if any(x.batch for x in marks(maps) if isinstance(x, Merged)):
            self.refuse(function, "joins maps whose frames lie on different axes")
        rows = []
        for x in maps:
            timed: Any = frames_of(x)
            rate = timed.timed.rate
            rows.append(marked(x.unflatten(0, (x.shape[0] // rate, rate)), timed.timed))
        aligned, last = self.aligned(rows, function)
        same = Merged(last)
        new = {id(x): marked(y.flatten(0, 1), same) for x, y in zip(maps, aligned, strict=True)}
        return tree_map(lambda x: new.get(id(x), x), args), [same]

    def after_frames(self, function: Any, args: Any, kwargs: Any, pooled: list[Pooled]) -> Any:
        """Run a call on a tensor computed from all frames: it has no frames to mix."""
        if function in self.pooled:
            return self.pooled[function](self, *args, **kwargs)
        late, field = max(x.late for x in pooled), max(x.field for x in pooled)
        output = function(*args, **kwargs)
        return marked(output, replace(pooled[0], late=late, field=field))

    def complete(self, output: object) -> Any:
        """Return a network's output; refuse the first few frames alone."""
        if any(isinstance(frames_of(y), Edge) for y in tree_leaves(output)):
            self.refuse(Tensor.__getitem__, Edge.why)
        if any(isinstance(frames_of(y), Merged) for y in tree_leaves(output)):
            self.refuse(
                torch.reshape, "returns an output in which streams and frames share an axis"
            )
        return output

    def sizes_alone(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Run a call on the first frames of a video, whose values are not kept."""
        output = function(*args, **kwargs)
        if function not in LIKE and any(isinstance(y, Tensor) for y in tree_leaves(output)):
            self.refuse(Tensor.__getitem__, Edge.why)
        return output

    def refuse(self, function: object, why: str) -> NoReturn:
        known = "and is not among the functions that are known to stream"
        raise LeanError(
            self.said(function, f"{why}, {known}; replace it, or make the model causal")
        )

    def said(self, function: object, why: str) -> str:
        name = getattr(function, "__name__", str(function))
        return f"stream(wait=True): {name} in {self.place() or 'the model'} {why}"

    def plainly(self, x: Tensor, function: object) -> Timed:
        """Return the layout of a map (B, C, T, ...); refuse all others."""
        frames: Any = frames_of(x)
        if frames.place != PLAIN:
            self.refuse(function, "is on a map that is not (B, C, T, ...)")
        return frames

    def walk(self, x: Tensor, over: Window, fill: float = 0.0) -> tuple[Tensor, Timed]:
        """Return the frames under a kernel in this step, `fill` outside of the video.

        Shape: any layout -> (B, C, T, ...)
        """
        given: Any = frames_of(x)
        x, given = apart(x, given), replace(given, batch=0, axis=2, each=1)
        made = over.output(given, self.clock.chunk)
        # the last frame may be as far back as there are copies of it
        last = over.back if over.repeats else 0
        earlier = over.history(given, made) + last
        x = self.clean(x, given)
        if earlier > 0:
            x = self.memory.window(self.site("past"), x, earlier, 0.0)
        elif earlier < 0:
            x = x[:, :, -earlier:]
        if (over.front > 0 or over.back > 0) and not self.clock.all_inside(given, earlier):
            x = self.padded(x, given, self.clock.before(given) - earlier, fill, over.repeats)
        return x[:, :, last : last + over.reach(made)], made

    def padded(
        self, x: Tensor, given: Timed, first_B: Tensor, fill: float, repeats: bool
    ) -> Tensor:
        frames = x.shape[2]
        if not repeats:
            return x.masked_fill(over(self.outside(first_B, frames, given), given, x.ndim), fill)
        wanted_BT = (first_B[:, None] + torch.arange(frames, device=x.device)).clamp(min=0)
        if given.length is not None:
            wanted_BT = wanted_BT.minimum(given.length[:, None] - 1)
        place_BT = (wanted_BT - first_B[:, None]).clamp(0, frames - 1)
        return x.gather(2, over(place_BT, given, x.ndim).expand_as(x))

    def outside(self, first_B: Tensor, frames: int, given: Timed) -> Tensor:
        return self.clock.outside(first_B, frames, given.length)

    def clean(self, x: Tensor, given: Timed) -> Tensor:
        """Return the tensor to keep, without values computed from frames outside of the video.

        These are masked before they are used, but may be NaN, which is not allowed in a state.
        """
        if not self.clock.careful or self.clock.all_inside(given):
            return x
        outside_BT = self.outside(self.clock.before(given), x.shape[2], given)
        return x.masked_fill(over(outside_BT, given, x.ndim), 0.0)

    def aligned(self, args: Sequence[Any], function: object) -> tuple[list[Any], Timed]:
        """Return the arguments of a join, the earlier ones delayed."""
        timed = [x for x in map(frames_of, args) if isinstance(x, Timed)]
        if not same_rate(timed):
            self.refuse(function, "joins maps of different frame rates")
        last = latest(timed)

        def hold(x: Any) -> Any:
            frames = frames_of(x)
            if not isinstance(frames, Timed) or frames.delay == last.delay:
                return x
            early = last.delay - frames.delay
            here = replace(frames, batch=0, axis=2, each=1)
            kept = self.clean(apart(x, frames), here)
            late = self.memory.window(self.site("past"), kept, early, 0.0)[:, :, : frames.rate]
            return put_back(late, frames, x.ndim)

        return [hold(x) for x in args], last

    def join(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a sum or product of maps, and of tensors that are equal for every frame."""
        joined, same = self.aligned(args, function)
        output = function(*joined, **kwargs)
        places, others = set(), []
        for x in args:
            frames = frames_of(x)
            if isinstance(frames, Timed):
                more = output.ndim - x.ndim
                places.add((frames.batch + more, frames.axis + more, frames.each))
            elif isinstance(x, Tensor):
                others.append(x)
        if len(places) > 1:
            self.refuse(function, "joins maps whose frames lie on different axes")
        ((batch, axis, each),) = places
        for x in others:
            sizes = [1] * (output.ndim - x.ndim) + list(x.shape)
            if (sizes[batch], sizes[axis]) != (1, 1):
                self.refuse(
                    function,
                    "combines frames with a constant that differs by frame or stream",
                )
        return marked(output, replace(same, batch=batch, axis=axis, each=each))

    def finish(self, output: object) -> Any:
        """Replace outputs by NaN that are not there yet, or belong to frames after the last."""

        def blank(y: Any) -> Any:
            frames = frames_of(y)
            if isinstance(frames, Pooled) and not (self.clock.careful and self.alive.all()):
                return torch.where(plain(self.alive, frames, y.ndim), y, torch.nan)
            if isinstance(frames, Timed) and not self.clock.all_inside(frames):
                first_B = self.clock.before(frames)
                outside_BT = self.outside(first_B, y.shape[frames.axis] // frames.each, frames)
                return y.masked_fill(over(outside_BT, frames, y.ndim), torch.nan)
            return unmarked(y) if isinstance(y, Tensor) else y

        return tree_map(blank, output)
