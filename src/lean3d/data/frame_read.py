"""Frames of a video by their numbers: from the key frame before them on, decoded no further.

Axes: H height, W width.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lean3d.data.frame_times import FrameTimes, measure
from lean3d.data.stills import list_images, read_image
from lean3d.data.video import VideoFile, upright
from lean3d.errors import DataError

__all__ = ["Found", "find_frames", "read_frames"]

# frames at the front are as near as a key frame
FRONT = 8


@dataclass(frozen=True)
class Found:
    """Frames of a video.

    Args:
        frames: By their numbers, those that could be decoded; (H, W, 3) uint8 each.
        near: The last frame before them; None unless all of them are missing.
        damaged: Whether anything on the way could not be decoded, or in part only.
    """

    frames: dict[int, Tensor]
    near: Tensor | None = None
    damaged: bool = False

    def nearest(self, number: int) -> Tensor:
        """Return a frame, or the one in its place: the last before it, or the next after it."""
        if self.near is not None:
            return self.near
        earlier = [n for n in self.frames if n <= number]
        return self.frames[max(earlier) if earlier else min(self.frames)]


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
    frames = list(find_frames(path, wanted, times).frames.values())
    if not frames:
        raise DataError(f"{path} has fewer frames than it promises; repair or copy it again")
    return frames


def find_frames(path: Path, wanted: Sequence[int], times: FrameTimes | None = None) -> Found:
    """Return frames by their numbers, and what takes the place of the missing ones.

    Args:
        path: A file, or a folder of images.
        wanted: Increasing.
        times: As `measure` gives them.

    Raises:
        DataError: no frame up to them can be read.
    """
    if path.is_dir():
        images = list_images(path)
        found = Found({n: read_image(images[n]) for n in wanted if n < len(images)})
    else:
        times = times or measure(path)
        inside = [number for number in wanted if number < times.num]
        found = _in_file(path, inside, times) if inside else Found({})
    if not found.frames and found.near is None:
        raise DataError(f"{path} has fewer frames than it promises; repair or copy it again")
    return found


def _in_file(path: Path, wanted: Sequence[int], times: FrameTimes) -> Found:
    sought = times.seekable and wanted[0] > FRONT and _sought(path, wanted, times)
    return sought or _from_front(path, wanted, times)


def _sought(path: Path, wanted: Sequence[int], times: FrameTimes) -> Found | None:
    """Seek to the key frame before; None where the file does not lead to exactly these frames."""
    # clips are loaded in parallel; threads started for each cost more than they save
    video = VideoFile(path, threads=1)
    try:
        numbers = {times.tick(number): number for number in wanted}
        first, last = times.tick(wanted[0]), times.tick(wanted[-1])
        video.container.seek(first, stream=video.stream)
        found: dict[int, Tensor] = {}
        before = None
        for frame in video.frames(numbers):
            if frame.pts is None or frame.is_corrupt:
                return None
            if frame.pts < first:
                before = frame
                continue
            # it may be missing, but not at another time
            if not found and frame.pts != first and not (video.damaged and frame.pts in numbers):
                return None
            if frame.pts in numbers:
                found[numbers[frame.pts]] = upright(frame, packed=False)
            if frame.pts >= last or len(found) == len(numbers):
                break
        if found:
            return Found(found, damaged=video.damaged > 0)
        return None if before is None or not video.damaged else Found({}, upright(before), True)
    except OSError:  # a file in which FFmpeg cannot seek
        return None
    except DataError:  # nothing from the key frame on
        return None
    finally:
        video.close()


def _from_front(path: Path, wanted: Sequence[int], times: FrameTimes) -> Found:
    video, chosen = VideoFile(path), set(wanted)
    found: dict[int, Tensor] = {}
    before, corrupt, number = None, False, -1
    try:
        for count, frame in enumerate(video.frames()):
            number = count if not video.damaged else max(_numbered(frame, times, count), number + 1)
            if number > wanted[-1]:
                break
            corrupt = corrupt or frame.is_corrupt
            if number in chosen:
                found[number] = upright(frame)
            elif not found:
                before = frame
            if number == wanted[-1]:
                break
        near = upright(before) if before is not None and not found else None
        return Found(found, near, video.damaged > 0 or corrupt)
    finally:
        video.close()


def _numbered(frame: object, times: FrameTimes, count: int) -> int:
    """Return the number of a frame by its time, since frames before it are missing."""
    pts = getattr(frame, "pts", None)
    if pts is None or not times.seekable:
        return count
    if times.ticks:
        return bisect_left(times.ticks, pts)
    return (pts - times.start) // times.step
