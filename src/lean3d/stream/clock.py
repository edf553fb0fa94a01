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
from lean3d.stream.state import NEVER

__all__ = ["Clock", "Pooled", "Timed", "Window"]


@dataclass(frozen=True)
class Timed:
    """What is known of a feature map's axis of frames.

    Args:
        delay: Positions its frames are late.
        rate: Frames of it a step makes.
        field: Frames of the video each depends on.
        length: (B,) frames of it there will be in all; None while no stream has ended.
    """

    delay: int
    rate: int
    field: int
    length: Tensor | None

    def repeated(self, times: int) -> "Timed":
        """The axis of frames when each is there so many times in a row."""
        length = None if self.length is None else times * self.length
        return Timed(times * self.delay, times * self.rate, self.field, length)


@dataclass(frozen=True)
class Pooled:
    """A mean over time, which has no frames any more.

    Args:
        late: Frames of the video it is late.
        field: Frames of the video it depends on.
    """

    late: int
    field: float


@dataclass(frozen=True)
class Window:
    """How a kernel of `span` frames (dilation included) walks over time.

    Args:
        front, back: Padding before the first frame and after the last.
    """

    span: int
    stride: int = 1
    front: int = 0
    back: int = 0

    def output(self, x: Timed, chunk: int) -> Timed:
        """The axis of frames of what it makes."""
        if x.rate % self.stride:
            raise ChunkError(
                f"a stride of {self.stride} in time needs a multiple of it in frames, has {x.rate}",
                self.stride // gcd(self.stride, x.rate),
            )
        # the last output of a step must not need a frame that is not there
        late = -(-(x.delay + self.span - self.front) // self.stride) - 1
        length = x.length
        if length is not None:
            padded = length + self.front + self.back - self.span
            length = (padded.div(self.stride, rounding_mode="floor") + 1).clamp(min=0)
        field = x.field + (self.span - 1) * (chunk // x.rate)
        return Timed(max(0, late), x.rate // self.stride, field, length)

    def history(self, x: Timed, y: Timed) -> int:
        """Earlier frames the first output of a step needs; negative: the first ones it skips."""
        return y.delay * self.stride + self.front - x.delay

    def reach(self, y: Timed) -> int:
        """Frames under the kernel in one step."""
        return self.span + (y.rate - 1) * self.stride


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
        first = self.least * x.rate // self.chunk - x.delay - earlier
        return self.careful and not self.ended and first >= 0

    def late(self, x: Timed) -> int:
        """Frames of the video that must follow a frame before it is there."""
        return x.delay * self.chunk // x.rate


def same_rate(frames: list[Timed]) -> bool:
    return len({x.rate for x in frames}) == 1


def latest(frames: list[Timed]) -> Timed:
    """The axis of frames of a sum of maps."""
    late = max(frames, key=lambda x: x.delay)
    return replace(late, field=max(x.field for x in frames))
