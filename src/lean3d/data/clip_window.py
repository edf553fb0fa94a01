"""Which frames of a video a clip holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lean3d.data.frame_times import FrameTimes
from lean3d.data.listing import Recording
from lean3d.errors import DataError

__all__ = ["ClipWindow"]


@dataclass(frozen=True)
class ClipWindow:
    """The frames of a clip; a recording that is shorter is repeated.

    Args:
        frames: Of a clip.
        step: From each frame of a clip to the next, in frames of the video, or of `fps`.
        fps: Frames per second to which the video is resampled first; its own by default.
    """

    frames: int
    step: int = 1
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or self.step < 1 or (self.fps is not None and not self.fps > 0):
            raise DataError(
                f"a clip has 1 frame or more, a step of 1 or more and a rate above 0, got "
                f"{self.frames} frames, step {self.step} and {self.fps} frames a second"
            )

    @property
    def length(self) -> int:
        """Frames from the first to the last of a clip, both counted."""
        return (self.frames - 1) * self.step + 1

    def random(self, at: Sequence[int], draw: np.random.Generator) -> list[int]:
        """Return the frames of a clip at a random place (temporal jitter)."""
        return self.clip(at, int(draw.integers(max(len(at) - self.length, 0) + 1)))

    def middle(self, at: Sequence[int]) -> list[int]:
        """Return the frames of the clip in the middle."""
        return self.clip(at, max(len(at) - self.length, 0) // 2)

    def whole(self, at: Sequence[int]) -> list[int]:
        """Return all frames of a video no longer than a clip, else the clip in the middle."""
        return self.middle(at) if len(at) >= self.length else list(at)[:: self.step]

    def clip(self, at: Sequence[int], first: int) -> list[int]:
        """Return the frames of the clip from one place on."""
        return [at[(first + k * self.step) % len(at)] for k in range(self.frames)]

    def spread(self, at: Sequence[int], num: int) -> list[list[int]]:
        """Return clips at equal distances, the first at the start and the last at the end."""
        spare = max(len(at) - self.length, 0)
        firsts = [round(k * spare / (num - 1)) if num > 1 else spare // 2 for k in range(num)]
        return [self.clip(at, first) for first in firsts]

    def every(self, at: Sequence[int], stride: int = 1) -> list[list[int]]:
        """Return the clips from every frame on, or every `stride`-th, that lie within the video."""
        spare = max(len(at) - self.length, 0)
        return [self.clip(at, first) for first in range(0, spare + 1, stride)]

    def places(self, recording: Recording, times: FrameTimes) -> Sequence[int]:
        """Return the numbers of the frames of a recording, at the rate of the window."""
        first, last = _span(recording, times)
        if self.fps is None:
            return range(first, last)
        start = times.seconds(first)
        num = max(int((times.seconds(last - 1) - start) * self.fps + 1e-6) + 1, 1)
        return [min(times.at(start + k / self.fps), last - 1) for k in range(num)]


def _span(recording: Recording, times: FrameTimes) -> tuple[int, int]:
    """Return the first frame of a recording and the one after its last; at least one frame."""
    first, last = 0, times.num
    if recording.frames is not None:
        first, last = recording.frames
    elif recording.seconds is not None:
        start, end = recording.seconds
        first = times.at(start)
        last = times.num if end is None else times.at(end) + 1
    first = min(max(first, 0), times.num - 1)
    return first, min(max(last, first + 1), times.num)
