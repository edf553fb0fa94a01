"""Tracklets: short videos of one person each, by one camera, or of one face.

Axes: H height, W width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from lean3d.data.damage import Damage
from lean3d.data.frame_times import FrameTimes
from lean3d.data.listing import Recording
from lean3d.data.stills import read_image
from lean3d.data.video_clips import read_clip, with_times
from lean3d.errors import DataError

__all__ = ["Pair", "People", "Tracklet", "frame_times", "num_frames", "read_tracklet"]


@dataclass(frozen=True)
class Tracklet:
    """A video of one person.

    Args:
        name: Different from all others of its part.
        person: Who is shown; "-1" for boxes that show no person well, which are neither right nor
            wrong in an evaluation.
        path: A video file, or a folder with images.
        camera: Its number, from 0; None if it is not known.
        images: Names of the images in the folder, in order; empty for a video file.
    """

    name: str
    person: str
    path: Path
    camera: int | None = None
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Two videos of the gallery, by their places, and whether they show one person."""

    first: int
    second: int
    same: bool
    fold: int


@dataclass(frozen=True)
class People:
    """A data set of persons.

    Args:
        name: Of the data set, and its folder.
        train: Tracklets to train on.
        val: Tracklets of other persons to validate on, if the data set has them.
        gallery: Tracklets to search in.
        queries: Places of the gallery that are searched for.
        pairs: Pairs to verify.
        left_out: Sentences on what is there, or listed, and not used.
        folder: Where it lies.
    """

    name: str
    train: list[Tracklet] = field(default_factory=list)
    val: list[Tracklet] = field(default_factory=list)
    gallery: list[Tracklet] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    left_out: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def every(self) -> list[Tracklet]:
        """Return the tracklets of all parts."""
        return [*self.train, *self.val, *self.gallery]

    def with_cameras(self, cameras: Sequence[int | None]) -> "People":
        """Return the same with the cameras of `every`."""
        found = [replace(t, camera=c) for t, c in zip(self.every, cameras, strict=True)]
        one, two = len(self.train), len(self.train) + len(self.val)
        return replace(self, train=found[:one], val=found[one:two], gallery=found[two:])


def frame_times(
    tracklets: Iterable[Tracklet], folder: Path | None, *, skip_damaged: bool = False
) -> tuple[dict[Path, FrameTimes], list[DataError]]:
    """Return the times of the frames of the video files, and the errors of those left out.

    Raises:
        DataError: a video is damaged, unless it is left out.
    """
    files = [Recording(t.path, (0,)) for t in tracklets if not t.images]
    _, times, errors = with_times(files, folder, skip_damaged=skip_damaged)
    return times, errors


def num_frames(tracklet: Tracklet, times: dict[Path, FrameTimes]) -> int:
    return len(tracklet.images) or times[tracklet.path].num


def read_tracklet(
    tracklet: Tracklet,
    numbers: Sequence[int],
    times: dict[Path, FrameTimes],
    damage: Damage | None = None,
) -> list[Tensor]:
    """Return frames by their numbers, (H, W, 3) uint8 each."""
    if not tracklet.images:
        return read_clip(tracklet.path, numbers, times[tracklet.path], damage)
    seen: dict[int, Tensor] = {}
    for number in dict.fromkeys(numbers):
        seen[number] = read_image(tracklet.path / tracklet.images[number])
    return [seen[number] for number in numbers]
