"""Run an unchanged network for one step of a stream: what its functions mean where frames are late.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from lean3d.errors import LeanError
from lean3d.ops.memory import Memory, precisely
from lean3d.stream.clock import Clock, Pooled, Timed, Window, latest, same_rate
from lean3d.stream.listed import JOINS, keeps_frames

__all__ = ["Frames", "frames_of", "marked"]

MARK = "_lean3d_frames"


def frames_of(x: Any) -> Timed | Pooled | None:
    return getattr(x, MARK, None) if isinstance(x, Tensor) else None


def marked(output: Any, frames: Timed | Pooled) -> Any:
    """The output, every tensor of it knowing its frames."""
    for y in [output] if isinstance(output, Tensor) else tree_leaves(output):
        if isinstance(y, Tensor):
            setattr(y, MARK, frames)
    return output


class Frames(TorchFunctionMode):
    """One step: follows the frames through every call on a feature map.

    Args:
        calls: What the functions mean that look at several frames.
        site: Names a slot for what the module that is running keeps.
        place: The path of that module.
        window: Frames of the video a mean over time spans; None for all there were.
    """

    def __init__(
        self,
        memory: Memory,
        clock: Clock,
        calls: Mapping[Any, Callable[..., Tensor]],
        site: Callable[[str], str],
        place: Callable[[], str],
        window: int | None,
    ):
        super().__init__()
        self.memory, self.clock, self.calls = memory, clock, calls
        self.site, self.place, self.window = site, place, window
        self.alive = torch.ones_like(clock.seen, dtype=torch.bool)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        found = [frames_of(x) for x in tree_leaves((args, kwargs))]
        timed = [x for x in found if isinstance(x, Timed)]
        pooled = [x for x in found if isinstance(x, Pooled)]
        if timed and pooled:
            self.refuse(function, "joins a mean over all time with single frames")
        if timed and function in self.calls:
            return self.calls[function](self, *args, **kwargs)
        if timed and function in JOINS:
            args, same = self.aligned(args, function)
            return marked(function(*args, **kwargs), same)
        output = function(*args, **kwargs)
        if pooled:
            return marked(output, pooled[0])
        if timed and any(isinstance(y, Tensor) for y in tree_leaves(output)):
            if not keeps_frames(function, args, kwargs):
                self.refuse(function, "may mix frames")
            marked(output, timed[0])
        return output

    def refuse(self, function: Any, why: str) -> None:
        name = getattr(function, "__name__", str(function))
        path = self.place() or "the model"
        raise LeanError(
            f"stream(wait=True): {name} in {path} {why}, and is not among the functions that are "
            "known to stream; replace it, or make the model causal"
        )

    def walk(self, x: Tensor, over: Window, fill: float) -> tuple[Tensor, Timed]:
        """The frames under a kernel in this step, `fill` where the video has none."""
        given: Any = frames_of(x)
        made = over.output(given, self.clock.chunk)
        earlier = over.history(given, made)
        x = self.clean(x, given)
        if earlier > 0:
            x = self.memory.window(self.site("past"), x, earlier, 0.0)
        elif earlier < 0:
            x = x[:, :, -earlier:]
        x = x[:, :, : over.reach(made)]
        if over.front + over.back and not self.clock.all_inside(given, earlier):
            first = self.clock.before(given) - earlier
            outside_BT = self.clock.outside(first, x.shape[2], given.length)
            x = x.masked_fill(outside_BT[:, None, :, None, None], fill)
        return x, made

    def clean(self, x: Tensor, given: Timed) -> Tensor:
        """What is to be kept, without what was computed of frames that the video does not have.

        It is masked before it is used, but may be NaN, which is no state.
        """
        if not self.clock.careful or self.clock.all_inside(given):
            return x
        outside_BT = self.clock.outside(self.clock.before(given), x.shape[2], given.length)
        return x.masked_fill(broad(outside_BT, x), 0.0)

    def aligned(self, args: Sequence[Any], function: Any) -> tuple[list[Any], Timed]:
        """Arguments of a join, those that are early held back."""
        timed = [x for x in map(frames_of, args) if isinstance(x, Timed)]
        if not same_rate(timed):
            self.refuse(function, "joins maps of different frame rates")
        last = latest(timed)

        def hold(x: Any) -> Any:
            frames = frames_of(x)
            if not isinstance(frames, Timed) or frames.delay == last.delay:
                return x
            early = last.delay - frames.delay
            x = self.clean(x, frames)
            return self.memory.window(self.site("past"), x, early, 0.0)[:, :, : frames.rate]

        return [hold(x) for x in args], last

    def average(self, x: Tensor) -> Tensor:
        """(B, C, T, ...) -> (B, C, ...), the mean over the frames of the video so far."""
        given: Any = frames_of(x)
        mean = self.recent(x, given) if self.window else self.running(x, given)
        field = given.field + self.window - 1 if self.window else torch.inf
        return marked(mean.to(x.dtype), Pooled(self.clock.late(given), field))

    def running(self, x: Tensor, given: Timed) -> Tensor:
        first_B = self.clock.before(given)
        outside_BT = self.clock.outside(first_B, x.shape[2], given.length)
        seen_B = first_B.clamp(min=0)
        if given.length is not None:
            seen_B = seen_B.minimum(given.length)
        seen_B = seen_B + (~outside_BT).sum(1)
        slot, precise = self.site("mean"), precisely(x)
        mean = self.memory.read(slot, torch.zeros_like(precise[:, :, 0]))
        off = broad(outside_BT, x)
        change = (precise - mean.unsqueeze(2)).masked_fill(off, 0.0).sum(2)
        mean = mean + change / broad(seen_B.clamp(min=1), change)
        self.memory.write(slot, mean, "recurrent")
        self.alive = self.alive & (seen_B > 0)
        return mean

    def recent(self, x: Tensor, given: Timed) -> Tensor:
        spans = max(1, (self.window or 0) * given.rate // self.clock.chunk)
        if spans > given.rate:
            x = self.clean(x, given)
            x = self.memory.window(self.site("past"), x, spans - given.rate, 0.0)
        x = x[:, :, -spans:]
        first_B = self.clock.before(given) - (spans - given.rate)
        outside_BT = self.clock.outside(first_B, spans, given.length)
        count_B = (~outside_BT).sum(1).clamp(min=1)
        total = precisely(x).masked_fill(broad(outside_BT, x), 0.0).sum(2)
        self.alive = self.alive & ~outside_BT[:, -given.rate :].all(1)
        return total / broad(count_B, total)

    def finish(self, output: Any) -> Any:
        """NaN for every answer that is not there yet, or is to frames after the last."""

        def blank(y: Tensor) -> Tensor:
            frames = frames_of(y)
            if isinstance(frames, Pooled) and not (self.clock.careful and self.alive.all()):
                return torch.where(broad(self.alive, y), y, torch.nan)
            if isinstance(frames, Timed) and not self.clock.all_inside(frames):
                first = self.clock.before(frames)
                outside_BT = self.clock.outside(first, y.shape[2], frames.length)
                return y.masked_fill(broad(outside_BT, y), torch.nan)
            return y

        return tree_map(blank, output)


def broad(flags: Tensor, like: Tensor) -> Tensor:
    """(B,) or (B, T) with axes of one, to go with (B, C, ...) or (B, C, T, ...)."""
    if flags.ndim == 1:
        return flags.view(-1, *[1] * (like.ndim - 1))
    return flags.view(flags.shape[0], 1, flags.shape[1], *[1] * (like.ndim - 3))
