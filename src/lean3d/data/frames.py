"""A frame of a video, and the base class of all sources of frames.

Axes: H height, W width, C channels (red, green, blue).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lean3d.errors import DataError
from lean3d.limits import check_memory

__all__ = ["MOST_FPS", "Frame", "FrameSource", "check_pixels"]

# maximum pixels of one frame, those of 16K video: a small file can declare more than memory holds
MOST_PIXELS = 2**27
MOST_FPS = 1000


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Args:
        pixels: (H, W, 3) uint8.
        index: Its number in the source, from 0.
        seconds: Its time, from the first frame.
    """

    pixels: Tensor
    index: int
    seconds: float


def check_pixels(name: str, height: int, width: int) -> None:
    """Refuse frames of more pixels than any camera gives, before one is decoded."""
    if height * width > MOST_PIXELS:
        raise DataError(
            f"{name}: frames of {width:,} x {height:,} pixels cannot be read, at most "
            f"{MOST_PIXELS:,} pixels; scale them down"
        )
    # as decoded, as red, green and blue, and for the model
    check_memory(
        f"{name}: a frame of {width:,} x {height:,} pixels", 20 * height * width, "scale it down"
    )


class FrameSource:
    """Frames in order, shown upright, readable once. Metadata is read on open.

    A source may change the size of its frames midway.

    Attributes:
        name: Name in errors and outputs.
        fps: Frames per second, by the source's metadata.
        live: Whether frames arrive at their own rate, read or not.
        length: Number of frames; None if unknown.
        damaged: Packets so far that could not be decoded; their frames are missing.
    """

    name: str
    fps: float
    live = False
    length: int | None = None
    damaged: int = 0

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; raise DataError, naming the source, if they cannot be read."""
        index = 0
        for pixels_HWC, seconds in self.read():
            yield Frame(pixels_HWC, index, index / self.fps if seconds is None else seconds)
            index += 1
        if index == 0:
            raise DataError(f"{self.name} holds no frame")

    def read(self) -> Iterator[tuple[Tensor, float | None]]:
        """Yield pixels and time of every frame; time is None if the source does not have it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file or device; nothing is read afterwards."""
