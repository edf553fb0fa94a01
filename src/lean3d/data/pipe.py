"""Raw frames from a pipe, such as another program's stdout."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lean3d.data.frames import MOST_FPS, FrameSource, check_pixels
from lean3d.errors import DataError
from lean3d.limits import check_number
from lean3d.signals import Stopped

__all__ = ["Piped", "RawFrames", "read_raw_size"]


class Piped:
    """An open file whose reads end at a signal and at the end of the program.

    FFmpeg would end the process at a signal's exception in a read of its own; here the read ends
    and `stoppable` raises it again. A thread blocked in a buffered read would abort the program
    at exit, hence the raw file below the buffer.
    """

    def __init__(self, file: Any):
        self.file, self.stopped = getattr(file, "raw", file), False

    def read(self, size: int) -> bytes:
        """Read the available bytes, up to a maximum; none at the end."""
        if self.stopped:
            return b""
        try:
            return self.file.read(size) or b""
        except Stopped:
            self.stopped = True
            return b""


class RawFrames(FrameSource):
    """Frames of height * width * 3 bytes each: red, green, blue, FFmpeg's rgb24."""

    def __init__(
        self, file: Any, width: int, height: int, fps: float = 25.0, *, name: str = "stdin"
    ):
        self.file, self.name, self.fps = file, name, fps
        self.shape = (height, width, 3)

    def read(self) -> Iterator[tuple[Tensor, float | None]]:
        height, width, channels = self.shape
        size, count = height * width * channels, 0
        while data := self._exactly(size):
            if len(data) < size:
                raise DataError(
                    f"{self.name} ends within frame {count}: {len(data)} of the {size} bytes of "
                    f"{width} x {height} pixels; is that the size of the frames?"
                )
            yield torch.frombuffer(data, dtype=torch.uint8).view(self.shape), None
            count += 1

    def _exactly(self, size: int) -> bytearray:
        """Read the given number of bytes, fewer at the end; a pipe returns what is available."""
        data = bytearray()
        while len(data) < size and (more := self.file.read(size - len(data))):
            data += more
        return data


def read_raw_size(words: str) -> tuple[int, int, float]:
    """Width, height and frames a second from "640x480" or "640x480@30"."""
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})(?:@(\d{1,9}(?:\.\d{1,9})?))?", words, re.ASCII)
    if not found or not int(found[1]) or not int(found[2]) or (found[3] and not float(found[3])):
        raise DataError(f"raw frames are WIDTHxHEIGHT or WIDTHxHEIGHT@FPS, got {words!r}")
    width, height, rate = int(found[1]), int(found[2]), float(found[3] or 25)
    check_pixels("raw frames", height, width)
    check_number("the rate of raw frames", rate, 0, MOST_FPS, above=True)
    return width, height, rate
