"""Write frames to a video file atomically."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lean3d.data.frames import MOST_FPS
from lean3d.data.video import local
from lean3d.errors import DataError
from lean3d.files import write_whole
from lean3d.limits import check_number
from lean3d.optional import require

__all__ = ["VideoWriter", "check_video_path", "write_video"]

CODECS = {".mp4": ("libx264", "mpeg4"), ".mkv": ("libx264", "ffv1"), ".avi": ("mpeg4",)}


# ticks a second of every kind but AVI, which has a rate alone; MPEG-4 takes at most 65,535
TICKS = 60_000


class VideoWriter:
    """Takes frames, (H, W, 3) uint8, in order of their times; made by `write_video`.

    Every frame keeps its time. AVI has a constant rate: a frame whose place is taken is left out.
    """

    def __init__(self, container: Any, codec: str, fps: float):
        self.container, self.codec = container, codec
        # rates below one frame in a thousand seconds would become 0
        self.rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
        self.ticks = self.rate if container.format.name == "avi" else Fraction(TICKS)
        self.stream: Any = None
        self.last = -1

    def write(self, pixels_HWC: Tensor, seconds: float) -> None:
        """Append a frame; the first one sets the size, rounded up to even numbers."""
        place = round(seconds * self.ticks)
        if place < self.last and self.ticks == self.rate:
            return
        av = require("av", extra="video")
        rgb = pixels_HWC.contiguous().numpy()
        height, width = rgb.shape[:2]
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self.stream = self.stream or self._begin(rgb)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        if (frame.width, frame.height) != (self.stream.width, self.stream.height):
            frame = frame.reformat(width=self.stream.width, height=self.stream.height)
        # times must increase, even if the source repeats one
        self.last = max(place, self.last + 1)
        frame.pts, frame.time_base = self.last, 1 / self.ticks
        self.container.mux(self.stream.encode(frame))

    def end(self) -> None:
        if self.stream is not None:
            self.container.mux(self.stream.encode())

    def _begin(self, rgb: np.ndarray) -> Any:
        stream = self.container.add_stream(self.codec, rate=self.rate)
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / self.ticks
        return stream


def check_video_path(path: Path) -> str:
    """Return the codec for a path's suffix; refuse other suffixes, as `write_video` does."""
    if path.suffix.lower() not in CODECS:
        raise DataError(f"video is written as {', '.join(CODECS)}, got {path}")
    there = require("av", extra="video").codecs_available
    for codec in CODECS[path.suffix.lower()]:
        if codec in there:
            return codec
    raise DataError(f"this FFmpeg has no encoder for {path.suffix}; write another kind")


@contextmanager
def write_video(path: str | Path, fps: float) -> Iterator[VideoWriter]:
    """Open a writer for `path`; the file appears, complete, when the block ends without error.

    Raises:
        DataError: the suffix is none of mp4, mkv and avi, or the file cannot be written.
    """
    av = require("av", extra="video")
    path = Path(path)
    codec = check_video_path(path)
    check_number(f"the rate of {path}", fps, 0, MOST_FPS, above=True)
    with write_whole(path) as temporary:
        with av.open(local(temporary), "w") as container:
            writer = VideoWriter(container, codec, fps)
            yield writer
            writer.end()
        if writer.last < 0:
            raise DataError(f"no frame was written to {path}; nothing was changed")
