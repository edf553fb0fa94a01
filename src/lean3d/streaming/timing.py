"""Where in time the frames of a feature map are, in a step of a network that waits.

A convolution over time with padding needs frames to come. In a stream its outputs are those of the
frames it has: they are late. The k-th frame of a map in a step stands at position
t * rate / chunk - delay + k, t being the frames seen before the step.

Axes: B batch, T time.
"""

from dataclasses import dataclass, replace
from math import gcd

import torch
from torch import Tensor

from lean3d.ops.memory import ChunkError
from lean3d.streaming.state import NEVER

__all__ = ["PLAIN", "Clock", "Pooled", "Timed", "Window", "frames_apart", "latest", "same_rate"]


@dataclass(frozen=True)
class Timed:
    """What is known of a feature map's axis of frames.

    Args:
        delay: Positions its frames are late.
        rate: Frames of it a step makes.
        field: Frames of the video each depends on.
        length: (B,) frames of it there will be in all; None while no stream has ended.
        batch, axis: Which axes hold the streams and the frames.
        each: Elements of a frame that lie in a row on the axis of frames, as flatten(2) puts them.
        extra: Frames of it that padding adds to those that a video of whole steps makes.
    """

    delay: int
    rate: int
    field: float
    length: Tensor | None
    batch: int = 0
    axis: int = 2
    each: int = 1
    extra: int = 0

    def repeated(self, times: int) -> "Timed":
        """The axis of frames when each is there so many times in a row."""
        length = None if self.length is None else times * self.length
        extra, delay = times * self.extra, times * self.delay
        return replace(self, delay=delay, rate=times * self.rate, length=length, extra=extra)

    @property
    def place(self) -> tuple[int, int, int]:
        """Where its streams and frames lie."""
        return self.batch, self.axis, self.each


# (B, C, T, ...)
PLAIN = (0, 2, 1)


@dataclass(frozen=True)
class Pooled:
    """What was made of all frames up to now, which has no frames any more.

    Args:
        late: Frames of the video it is late.
        field: Frames of the video it depends on.
        batch: Which axis holds the streams.
    """

    late: int
    field: float
    batch: int = 0


@dataclass(frozen=True)
class Window:
    """How a kernel of `span` frames (dilation included) walks over time.

    Args:
        front, back: Padding before the first frame and after the last; below 0, frames left out.
        repeats: The padding is copies of the first and the last frame.
    """

    span: int
    stride: int = 1
    front: int = 0
    back: int = 0
    repeats: bool = False

    def output(self, x: Timed, chunk: int) -> Timed:
        """The axis of frames of what it makes."""
        if x.rate % self.stride:
            raise ChunkError(
                f"a stride of {self.stride} in time needs a multiple of it in frames, has {x.rate}",
                self.stride // gcd(self.stride, x.rate),
            )
        # the last output of a step must not need a frame that is not there, the first frame of all
        # included where it is copied
        needed = self.span - self.front
        late = -(-(x.delay + max(needed, self.repeats)) // self.stride) - 1
        more, length = self.front + self.back - self.span, x.length
        if length is not None:
            length = ((length + more).div(self.stride, rounding_mode="floor") + 1).clamp(min=0)
        extra = (x.extra + more) // self.stride + 1
        field = x.field + (self.span - 1) * frames_apart(x, chunk)
        # nor may it be a frame that is left out if the video turns out to end here
        made = replace(x, delay=max(0, late, -extra), rate=x.rate // self.stride, length=length)
        return replace(made, field=field, extra=extra)

    def history(self, x: Timed, y: Timed) -> int:
        """Earlier frames the first output of a step needs; negative: the first ones it skips."""
        return y.delay * self.stride + self.front - x.delay

    def reach(self, y: Timed) -> int:
        """Frames under the kernel in one step."""
        return self.span + (y.rate - 1) * self.stride


def frames_apart(x: Timed, chunk: int) -> int:
    """Frames of the video between two of a map, rounded up where it has more than the video."""
    return -(-chunk // x.rate)


class Clock:
    """The time of one step.

    Args:
        careful: Skip what only matters near the first and the last frame of a stream when no
            stream is there; False for a graph that must hold for every step.
    """

    def __init__(self, seen_B: Tensor, end_B: Tensor, chunk: int, *, careful: bool):
        self.seen, self.end, self.chunk = seen_B, end_B.clamp(max=NEVER), chunk
        self.careful = careful
        self.ended = not careful or bool((end_B < NEVER).any())
        self.least = int(seen_B.min()) if careful else 0

    def start(self) -> Timed:
        """The axis of frames of the video itself."""
        return Timed(0, self.chunk, 1, self.end if self.ended else None)

    def before(self, x: Timed) -> Tensor:
        """(B,) the position of the first frame of a step."""
        return self.seen * x.rate // self.chunk - x.delay

    def outside(self, first_B: Tensor, frames: int, length_B: Tensor | None) -> Tensor:
        """(B, T) bool: which of `frames` from `first_B` on are before the video or after it."""
        position_BT = first_B[:, None] + torch.arange(frames, device=first_B.device)
        outside_BT = position_BT < 0
        return outside_BT if length_B is None else outside_BT | (position_BT >= length_B[:, None])

    def all_inside(self, x: Timed, earlier: int = 0) -> bool:
        """Whether no stream can have a frame outside, `earlier` frames in front of the step's."""
        first = self.least * x.rate // self.chunk - x.delay - max(earlier, 0)
        return self.careful and not self.ended and first >= 0

    def late(self, x: Timed) -> int:
        """Frames that must follow one of the video before its own is there, padding included."""
        return -(-(x.delay + max(0, x.extra)) * self.chunk // x.rate)


def same_rate(frames: list[Timed]) -> bool:
    return len({x.rate for x in frames}) == 1


def latest(frames: list[Timed]) -> Timed:
    """The axis of frames of a sum of maps."""
    late = max(frames, key=lambda x: x.delay)
    return replace(late, field=max(x.field for x in frames))
