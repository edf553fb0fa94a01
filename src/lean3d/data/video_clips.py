"""Clips of your own videos, one folder per class.

Spatial augmentation: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.3: a square
at a random place, its side a share of the frame's shorter one from SCALES.

Axes: C channels, T time, H height, W width.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lean3d.data.frames import FrameSource
from lean3d.data.pixels import fit_frame
from lean3d.data.samples import Samples
from lean3d.data.stills import ImageFolder
from lean3d.data.video import VideoFile
from lean3d.errors import DataError

__all__ = ["VideoClips", "find_videos", "split_videos"]

SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".ts")
SCALES = (1.0, 2**-0.25, 2**-0.75, 0.5)

Labelled = tuple[Path, int]


class VideoClips(Samples):
    """Clips from labelled videos; a video that is shorter than a clip is repeated.

    Args:
        videos: Files, or folders of images, with the number of their class.
        num: Clips per epoch.
        vary: Random pieces in time and space; otherwise the middle of each.

    Shape: (3, clip, size, size) float32, as `normalise_pixels` gives, and the class.
    """

    def __init__(
        self,
        videos: Sequence[Labelled],
        num: int,
        seed: int = 0,
        *,
        clip: int,
        size: int,
        vary: bool = True,
    ):
        super().__init__(num, seed)
        if not videos or clip < 1 or size < 1:
            raise DataError(
                f"VideoClips needs videos, and a clip and a size of 1 or more, got {len(videos)} "
                f"videos, clip {clip} and size {size}"
            )
        self.videos, self.clip, self.size, self.vary = list(videos), clip, size, vary
        # opened once now, so that an invalid or truncated video is reported before training
        self.lengths = [_length(path) for path, _ in videos]

    @property
    def key(self) -> str:
        """Return a unique name of these clips, for files made from them."""
        stats = [(str(p), n, p.stat().st_mtime_ns) for p, n in self.videos]
        mark = hashlib.sha256(repr(stats).encode()).hexdigest()[:8]
        return f"{len(self)}x{self.clip}x{self.size}_{mark}_seed{self.seed}"

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        draw = self.random(index)
        place = index % len(self.videos)
        (path, label), length = self.videos[place], self.lengths[place]
        spare = max(length - self.clip, 0)
        first = int(draw.integers(spare + 1)) if self.vary else spare // 2
        frames = _read(path, first, self.clip)
        part = _square(frames[0], draw) if self.vary else (slice(None), slice(None))
        fitted = [fit_frame(frame_HWC[part], (self.size, self.size)) for frame_HWC in frames]
        clip = [fitted[t % len(fitted)] for t in range(self.clip)]
        return torch.stack(clip, 1), torch.tensor(label)


@contextmanager
def _opened(path: Path) -> Iterator[FrameSource]:
    if not path.exists() or not (path.is_dir() or path.is_file()):
        # reading a pipe would block
        raise DataError(f"{path} is no file; remove it from its folder")
    source = ImageFolder(path) if path.is_dir() else VideoFile(path)
    try:
        yield source
    finally:
        source.close()


def _length(path: Path) -> int:
    with _opened(path) as source:
        if isinstance(source, VideoFile):
            source.check_index()
        return source.length or sum(1 for _ in source)


def _read(path: Path, first: int, num: int) -> list[Tensor]:
    """Return `num` frames from `first` on, fewer at the end."""
    with _opened(path) as source:
        frames = [frame.pixels for frame in islice(source, first, first + num)]
    if not frames:
        raise DataError(f"{path} has fewer frames than it promises; repair or copy it again")
    return frames


def _square(frame_HWC: Tensor, draw: np.random.Generator) -> tuple[slice, slice]:
    """Draw rows and columns of a square at a random place, of one of the scales."""
    height, width = frame_HWC.shape[:2]
    side = max(round(min(height, width) * float(draw.choice(SCALES))), 1)
    top, left = int(draw.integers(height - side + 1)), int(draw.integers(width - side + 1))
    return slice(top, top + side), slice(left, left + side)


def find_videos(folder: str | Path) -> tuple[list[str], list[Labelled]]:
    """Return the sorted class names, and every video with the number of its class.

    Raises:
        DataError: the folder is absent, or a class in it has no video; the message names it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give one with a folder of videos a class")
    classes = sorted(path for path in root.iterdir() if path.is_dir())
    if len(classes) < 2:
        raise DataError(f"{root} has {len(classes)} class folder(s); two or more are needed")
    found: list[Labelled] = []
    for number, path in enumerate(classes):
        videos = sorted(v for v in path.iterdir() if v.is_dir() or v.suffix.lower() in SUFFIXES)
        if not videos:
            raise DataError(f"{path} holds no video ({', '.join(s[1:] for s in SUFFIXES)})")
        found += [(video, number) for video in videos]
    return [path.name for path in classes], found


def split_videos(
    videos: Sequence[Labelled], held_out: float, seed: int
) -> tuple[list[Labelled], list[Labelled]]:
    """Split videos into training videos and a validation share of every class.

    Raises:
        DataError: a class has a single video, so that none can be held out.
    """
    train: list[Labelled] = []
    val: list[Labelled] = []
    for number in sorted({label for _, label in videos}):
        own = [video for video in videos if video[1] == number]
        if len(own) < 2:
            raise DataError(f"{own[0][0].parent} has one video; two are needed, one to hold out")
        random.Random(seed).shuffle(own)
        num = min(max(round(held_out * len(own)), 1), len(own) - 1)
        val, train = val + own[:num], train + own[num:]
    return train, val
