"""Frames from a folder of images."""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lean3d.data.frames import FrameSource, check_pixels
from lean3d.data.video import decoded
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["ImageFolder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


class ImageFolder(FrameSource):
    """The images of a folder in the order of their names, numbers compared as numbers.

    Args:
        fps: Frames per second assigned to them.
    """

    def __init__(self, folder: str | Path, fps: float = 25.0):
        self.name, self.fps = str(folder), fps
        found = (path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
        self.paths = sorted(found, key=_natural)
        self.length = len(self.paths)
        if not self.paths:
            raise DataError(f"{folder} holds no image ({', '.join(s[1:] for s in SUFFIXES)})")

    def read(self) -> Iterator[tuple[Tensor, float | None]]:
        for path in self.paths:
            pixels_HWC = _pixels(path)
            if self._size and tuple(pixels_HWC.shape[:2]) != self._size:
                height, width = pixels_HWC.shape[:2]
                raise DataError(
                    f"{path} has {width} x {height} pixels, the images before it "
                    f"{self._size[1]} x {self._size[0]}; resize or remove it"
                )
            yield pixels_HWC, None


def _pixels(path: Path) -> Tensor:
    av = require("av", extra="video")
    if not path.is_file():
        raise DataError(f"{path} is no file; remove it from the folder")
    with decoded(str(path)), av.open(str(path)) as container:
        for stream in container.streams.video:
            check_pixels(str(path), stream.codec_context.height, stream.codec_context.width)
        for frame in container.decode(video=0):
            return torch.from_numpy(frame.to_ndarray(format="rgb24"))
    raise DataError(f"{path} holds no image")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key with 2.png before 10.png."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
