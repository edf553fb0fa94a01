"""Positions in time of a feature map's frames, in a step of a delayed network.

A temporal convolution with padding needs future frames. In a stream its outputs are those of the
frames received so far: they are delayed. In a step the k-th frame of a map is at position
t * rate / chunk - delay + k, where t is the number of frames before the step.

Axes: B batch, T time.
"""

from dataclasses import dataclass, replace
from math import gcd

import torch
from torch import Tensor

from lean3d.ops.memory import ChunkError
from lean3d.streaming.state import NEVER

__all__ = [
    "PLAIN",
    "Clock",
    "Merged",
    "Pooled",
    "Timed",
    "Window",
    "frames_apart",
    "latest",
    "same_rate",
]


@dataclass(frozen=True)
class Timed:
    """The axis of frames of a feature map.

    Args:
        delay: Delay of its frames, in positions.
        rate: Frames of it per step.
        field: Frames of the video each depends on.
        length: (B,) its total number of frames; None while no stream has ended.
        batch, axis: The axes of streams and of frames.
        each: Elements of a frame that are consecutive on the axis of frames, as after flatten(2).
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
        """Return the axis of frames when each is repeated that often in a row."""
        length = None if self.length is None else times * self.length
        extra, delay = times * self.extra, times * self.delay
        return replace(self, delay=delay, rate=times * self.rate, length=length, extra=extra)

    @property
    def place(self) -> tuple[int, int, int]:
        """Return its axes of streams and frames."""
        return self.batch, self.axis, self.each


@dataclass(frozen=True)
class Merged:
    """Streams and frames on one axis, as in (B * T, C, H, W).

    Args:
        timed: The layout of (B, T, C, H, W).
        batch: The axis.
    """

    timed: Timed
    batch: int = 0


# (B, C, T, ...)
PLAIN = (0, 2, 1)


@dataclass(frozen=True)
class Pooled:
    """A tensor computed from all frames so far, without an axis of frames.

    Args:
        late: Delay in frames of the video.
        field: Frames of the video it depends on.
        batch: The axis of streams.
    """

    late: int
    field: float
    batch: int = 0


@dataclass(frozen=True)
class Window:
    """The temporal settings of a kernel of `span` frames (dilation included).

    Args:
        front, back: Padding before the first frame and after the last; negative: frames skipped.
        repeats: The padding is copies of the first and the last frame.
    """

    span: int
    stride: int = 1
    front: int = 0
    back: int = 0
    repeats: bool = False

    def output(self, x: Timed, chunk: int) -> Timed:
        """Return the axis of frames of its output."""
        if x.rate % self.stride:
            raise ChunkError(
                f"a stride of {self.stride} in time needs a multiple of it in frames, has {x.rate}",
                self.stride // gcd(self.stride, x.rate),
            )
        # the last output of a step must not need a missing frame, including the first frame
        # of all if it is copied
        needed = self.span - self.front
        late = -(-(x.delay + max(needed, self.repeats)) // self.stride) - 1
        more, length = self.front + self.back - self.span, x.length
        if length is not None:
            length = ((length + more).div(self.stride, rounding_mode="floor") + 1).clamp(min=0)
        extra = (x.extra + more) // self.stride + 1
        field = x.field + (self.span - 1) * frames_apart(x, chunk)
        # nor may it be a frame that is skipped if the video ends here
        made = replace(x, delay=max(0, late, -extra), rate=x.rate // self.stride, length=length)
        return replace(made, field=field, extra=extra)

    def history(self, x: Timed, y: Timed) -> int:
        """Return the earlier frames the first output of a step needs; negative: frames it skips."""
        return y.delay * self.stride + self.front - x.delay

    def reach(self, y: Timed) -> int:
        """Return the frames under the kernel in one step."""
        return self.span + (y.rate - 1) * self.stride


def frames_apart(x: Timed, chunk: int) -> int:
    """Return the video frames between two frames of a map, rounded up."""
    return -(-chunk // x.rate)


class Clock:
    """The time of one step.

    Args:
        careful: Skip work for the first and last frames of a stream when no stream is there;
            False for a graph that must hold for every step.
    """

    def __init__(self, seen_B: Tensor, end_B: Tensor, chunk: int, *, careful: bool):
        self.seen, self.end, self.chunk = seen_B, end_B.clamp(max=NEVER), chunk
        self.careful = careful
        self.ended = not careful or bool((end_B < NEVER).any())
        self.least = int(seen_B.min()) if careful else 0

    def start(self) -> Timed:
        """Return the axis of frames of the video itself."""
        return Timed(0, self.chunk, 1, self.end if self.ended else None)

    def before(self, x: Timed) -> Tensor:
        """Return (B,) the position of the first frame of a step."""
        return self.seen * x.rate // self.chunk - x.delay

    def outside(self, first_B: Tensor, frames: int, length_B: Tensor | None) -> Tensor:
        """Return (B, T) bool: which of `frames` from `first_B` on are outside of the video."""
        position_BT = first_B[:, None] + torch.arange(frames, device=first_B.device)
        outside_BT = position_BT < 0
        return outside_BT if length_B is None else outside_BT | (position_BT >= length_B[:, None])

    def all_inside(self, x: Timed, earlier: int = 0) -> bool:
        """Whether no stream can have a frame outside, `earlier` frames before the step's."""
        first = self.least * x.rate // self.chunk - x.delay - max(earlier, 0)
        return self.careful and not self.ended and first >= 0

    def late(self, x: Timed) -> int:
        """Return the delay in frames of the video, padding included."""
        return -(-(x.delay + max(0, x.extra)) * self.chunk // x.rate)


def same_rate(frames: list[Timed]) -> bool:
    return len({x.rate for x in frames}) == 1


def latest(frames: list[Timed]) -> Timed:
    """Return the axis of frames of a sum of maps."""
    late = max(frames, key=lambda x: x.delay)
    return replace(late, field=max(x.field for x in frames))
