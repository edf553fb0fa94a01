"""Clips of labelled videos to learn from.

Axes: C channels, T time, H height, W width.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lean3d.data.clip_window import ClipWindow
from lean3d.data.damage import Damage
from lean3d.data.frame_read import find_frames, read_frames
from lean3d.data.frame_times import FrameIndex, FrameTimes
from lean3d.data.listing import Recording
from lean3d.data.look import Box, Look
from lean3d.data.raw_clips import RawClip
from lean3d.data.samples import Samples
from lean3d.errors import DataError

__all__ = ["VideoClips", "with_times"]


class VideoClips(Samples):
    """Clips from recordings; of several labels a sample has one.

    Args:
        recordings: Labelled videos.
        num: Clips per epoch.
        window: The frames of a clip.
        look: Their size, crop and colours.
        vary: Random pieces in time and space; otherwise the middle of each.
        whole: A video that is shorter than a clip gives a shorter clip; it is repeated otherwise.
        times: Of the videos, as `with_times` gives them; found again by default.
        raw: Give `RawClip`s, the same parts of the same frames as they were decoded, for
            `LookOnDevice` to make clips of.

    Raises:
        DataError: there is no recording, or a video is damaged; raised before the first sample.

    Shape: (C, T, height, width) float32, or a `RawClip`, and the class.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        num: int,
        seed: int = 0,
        *,
        window: ClipWindow,
        look: Look,
        vary: bool = True,
        whole: bool = False,
        times: dict[Path, FrameTimes] | None = None,
        raw: bool = False,
    ):
        super().__init__(num, seed)
        if not recordings:
            raise DataError("VideoClips needs videos, got none")
        self.recordings, self.window, self.look = list(recordings), window, look
        self.vary, self.whole, self.raw = vary, whole, raw
        # opened once now, so that an invalid or truncated video is reported before training
        known = with_times(recordings)[1] if times is None else times
        self.times = [known[recording.path] for recording in recordings]
        self.damage = Damage(recording.path for recording in recordings)

    @property
    def key(self) -> str:
        """Return a unique name of these clips, for files made from them."""
        stats = [(repr(r), r.path.stat().st_mtime_ns) for r in self.recordings]
        mark = hashlib.sha256(
            repr((stats, self.window, self.look, *([True] if self.whole else []))).encode()
        ).hexdigest()[:8]
        sides = "x".join(map(str, self.look.size))
        return f"{len(self)}x{self.window.frames}x{sides}_{mark}_seed{self.seed}"

    def __getitem__(self, index: int) -> Any:
        draw = self.random(index)
        place = index % len(self.recordings)
        recording, times = self.recordings[place], self.times[place]
        at = self.window.places(recording, times)
        middle = self.window.whole if self.whole else self.window.middle
        numbers = self.window.random(at, draw) if self.vary else middle(at)
        frames = read_clip(recording.path, numbers, times, self.damage)
        label = recording.label
        if not self.vary:
            return self._clip(frames, self.look.middle(frames[0].shape)), torch.tensor(label)
        if len(recording.labels) > 1:
            label = int(draw.choice(recording.labels))
        box = self.look.random(frames[0].shape[:2], draw)
        clip = self._clip(frames, box, self.look.mirrors(label, draw))
        return clip, torch.tensor(label)

    def _clip(self, frames: list[Tensor], box: Box, mirrored: bool = False) -> Tensor | RawClip:
        if self.raw:
            return RawClip(self.look.part(frames, box), mirrored)
        return self.look.apply(frames, box, mirrored)


def read_clip(
    path: Path, numbers: Sequence[int], times: FrameTimes, damage: Damage | None = None
) -> list[Tensor]:
    """Return frames in any order, each decoded once.

    A frame that cannot be decoded is the one before it again; `damage` says so once of each video.
    """
    found = find_frames(path, sorted(set(numbers)), times)
    if found.damaged and damage is not None:
        damage.met(path, times.num)
    return [found.nearest(number) for number in numbers]


def with_times(
    recordings: Sequence[Recording], folder: Path | None = None, *, skip_damaged: bool = False
) -> tuple[list[Recording], dict[Path, FrameTimes], list[DataError]]:
    """Return the recordings whose videos can be read, their times, and the errors of the others.

    Args:
        folder: Where the times are kept for the next run.
        skip_damaged: Leave damaged videos out, and stretches that begin after their end.

    Raises:
        DataError: there is such a one, unless it is left out.
    """
    times, damaged = FrameIndex(folder).times(recording.path for recording in recordings)
    whole, errors = [], list(damaged.values())
    for recording in recordings:
        if recording.path in times:
            late = _begins_late(recording, times[recording.path])
            if late is None:
                whole.append(recording)
            else:
                errors.append(late)
    if errors and not skip_damaged:
        more = f"; so are {len(errors) - 1} more videos" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{more}; --skip-damaged leaves them out") from errors[0]
    return whole, times, errors


def _begins_late(recording: Recording, times: FrameTimes) -> DataError | None:
    """Return the error of a stretch that begins when its video has ended."""
    end = times.seconds(times.num - 1) + 1 / times.fps
    start = 0.0 if recording.seconds is None else recording.seconds[0]
    if start < end:
        return None
    return DataError(
        f"{recording.path} ends after {end:.2f} s and is listed from {start:.2f} s on; mend the "
        "list, or copy the video again"
    )


def _read(path: Path, first: int, num: int) -> list[Tensor]:
    """Return `num` frames from `first` on, fewer at the end."""
    return read_frames(path, range(first, first + num))
