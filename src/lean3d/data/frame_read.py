"""Frames of a video by their numbers: from the key frame before them on, decoded no further.

Axes: H height, W width.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from torch import Tensor

from lean3d.data.frame_times import FrameTimes, measure
from lean3d.data.stills import list_images, read_image
from lean3d.data.video import VideoFile, upright
from lean3d.errors import DataError

__all__ = ["read_frames"]

# frames at the front are as near as a key frame
FRONT = 8


def read_frames(path: Path, wanted: Sequence[int], times: FrameTimes | None = None) -> list[Tensor]:
    """Return frames by their numbers; those that cannot be decoded are left out.

    Args:
        path: A file, or a folder of images.
        wanted: Increasing.
        times: As `measure` gives them.

    Raises:
        DataError: none of them can be read.

    Shape: (H, W, 3) uint8 each
    """
    if path.is_dir():
        images = list_images(path)
        frames = [read_image(images[number]) for number in wanted if number < len(images)]
    else:
        times = times or measure(path)
        found = _sought(path, wanted, times) if times.seekable and wanted[0] > FRONT else None
        frames = _from_front(path, wanted) if found is None else found
    if not frames:
        raise DataError(f"{path} has fewer frames than it promises; repair or copy it again")
    return frames


def _sought(path: Path, wanted: Sequence[int], times: FrameTimes) -> list[Tensor] | None:
    """Seek to the key frame before; None where the file does not lead to exactly these frames."""
    # clips are loaded in parallel; threads started for each cost more than they save
    video = VideoFile(path, threads=1)
    try:
        ticks = [times.tick(number) for number in wanted]
        video.container.seek(ticks[0], stream=video.stream)
        found: list[Tensor] = []
        started = False
        for frame in video.frames(set(ticks)):
            if frame.pts is None or frame.is_corrupt:
                return None
            if frame.pts < ticks[len(found)]:
                continue
            if not started and frame.pts != ticks[0]:
                return None
            started = True
            found.append(upright(frame, packed=False))
            if len(found) == len(ticks):
                break
        return found or None
    except OSError:  # a file in which FFmpeg cannot seek
        return None
    finally:
        video.close()


def _from_front(path: Path, wanted: Sequence[int]) -> list[Tensor]:
    video, chosen = VideoFile(path), set(wanted)
    try:
        frames = islice(video.frames(), wanted[-1] + 1)
        return [upright(frame) for number, frame in enumerate(frames) if number in chosen]
    finally:
        video.close()
