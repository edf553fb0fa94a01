"""The frames of a source at a lower rate, such as a network was trained on."""

from collections.abc import Iterator

from lean3d.data.frames import Frame, FrameSource
from lean3d.errors import DataError

__all__ = ["Sampled"]


class Sampled(FrameSource):
    """The frames of a source at a lower rate; they keep their numbers and times.

    Args:
        step: Take every `step`-th frame, of those at `fps` if that is given.
        fps: Take this many frames a second, or all where the source has fewer.
    """

    def __init__(self, source: FrameSource, step: int = 1, fps: float | None = None):
        if step < 1 or (fps is not None and not fps > 0):
            raise DataError(f"frames are taken with a step of 1 or more, got {step} at {fps} fps")
        self.source, self.step, self.asked = source, step, fps
        self.name, self.live = source.name, source.live
        self.fps = min(source.fps, fps or source.fps) / step

    @property
    def damaged(self) -> int:  # type: ignore[override]
        return self.source.damaged

    def __iter__(self) -> Iterator[Frame]:
        due = 0
        for number, frame in enumerate(self._at_rate()):
            if number == due:
                yield frame
                due += self.step

    def close(self) -> None:
        self.source.close()

    def _at_rate(self) -> Iterator[Frame]:
        taken = 0
        for frame in self.source:
            # times are rounded to a thousandth of a second in some files
            if self.asked is None or frame.seconds + 0.0015 >= taken / self.asked:
                yield frame
                if self.asked is not None:
                    taken = max(taken + 1, int((frame.seconds + 0.0015) * self.asked) + 1)
