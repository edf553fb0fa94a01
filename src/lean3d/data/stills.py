"""Frames from a folder of images."""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lean3d.data.frames import FrameSource, check_pixels
from lean3d.data.hidden import visible
from lean3d.data.upright import turn_of_image
from lean3d.data.video import decoded, local
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["SUFFIXES", "ImageFolder", "list_images", "read_image"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


class ImageFolder(FrameSource):
    """The images of a folder in the order of their names, numbers compared as numbers.

    Args:
        fps: Frames per second assigned to them.
    """

    def __init__(self, folder: str | Path, fps: float = 25.0):
        self.name, self.fps = str(folder), fps
        self.paths = list_images(Path(folder))
        self.length = len(self.paths)
        if not self.paths:
            raise DataError(f"{folder} holds no image ({', '.join(s[1:] for s in SUFFIXES)})")

    def read(self) -> Iterator[tuple[Tensor, float | None]]:
        for path in self.paths:
            yield read_image(path), None


def list_images(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of their names, numbers compared as numbers."""
    found = (path for path in visible(folder) if path.suffix.lower() in SUFFIXES)
    return sorted(found, key=_natural)


def read_image(path: Path) -> Tensor:
    """Decode an image, upright by its EXIF orientation. Shape: (H, W, 3) uint8"""
    av = require("av", extra="video")
    if not path.is_file():
        raise DataError(f"{path} is no file; remove it from the folder")
    with decoded(str(path)), av.open(local(path)) as container:
        for stream in container.streams.video:
            check_pixels(str(path), stream.codec_context.height, stream.codec_context.width)
        for frame in container.decode(video=0):
            pixels_HWC = torch.from_numpy(frame.to_ndarray(format="rgb24", threads=1))
            return turn_of_image(path).apply(pixels_HWC)
    raise DataError(f"{path} holds no image")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key with 2.png before 10.png."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
