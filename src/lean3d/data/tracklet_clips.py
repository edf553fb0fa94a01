"""Clips of tracklets to learn persons from, and the order that gives several of each person.

Axes: C channels, T time, H height, W width.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from lean3d.data.clip_window import ClipWindow
from lean3d.data.damage import Damage
from lean3d.data.frame_times import FrameTimes
from lean3d.data.look import Look
from lean3d.data.motion_blur import motion_blur
from lean3d.data.samples import Samples
from lean3d.data.tracklets import Tracklet, num_frames, read_tracklet
from lean3d.errors import DataError

__all__ = ["PersonSampler", "TrackletClips"]


class TrackletClips(Samples):
    """A clip of a tracklet: at a random place, or frames at equal distances from all of it.

    Sample `index` is of tracklet `index % len(tracklets)`.

    Args:
        tracklets: Videos of persons.
        persons: The number of each person.
        window: The frames of a clip.
        look: Their size, crop and colours.
        vary: A random place in time and space; otherwise frames from the whole tracklet.
        blur: Share of the clips that get motion blur, where they vary.
        times: Of video files, as `frame_times` gives them.

    Shape: (C, T, height, width) float32, and the numbers of person, camera and tracklet, (3,); the
        camera is -1 if it is not known.

    Raises:
        DataError: there is no tracklet.
    """

    def __init__(
        self,
        tracklets: Sequence[Tracklet],
        persons: Mapping[str, int],
        seed: int = 0,
        *,
        window: ClipWindow,
        look: Look,
        vary: bool = True,
        blur: float = 0.0,
        times: dict[Path, FrameTimes] | None = None,
    ):
        if not tracklets:
            raise DataError("TrackletClips needs tracklets, got none")
        super().__init__(len(tracklets), seed)
        self.tracklets, self.persons = list(tracklets), dict(persons)
        self.window, self.look, self.vary, self.blur = window, look, vary, blur
        self.times = times or {}
        self.damage = Damage(t.path for t in self.tracklets if not t.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        draw = self.random(index)
        tracklet = self.tracklets[index % len(self.tracklets)]
        at = range(num_frames(tracklet, self.times))
        numbers = self.window.random(at, draw) if self.vary else spread(len(at), self.window.frames)
        frames = read_tracklet(tracklet, numbers, self.times, self.damage)
        camera = -1 if tracklet.camera is None else tracklet.camera
        place = index % len(self.tracklets)
        label_3 = torch.tensor([self.persons[tracklet.person], camera, place])
        if not self.vary:
            return self.look.apply(frames, self.look.middle(frames[0].shape)), label_3
        box = self.look.random(frames[0].shape[:2], draw)
        clip_CTHW = self.look.apply(frames, box, self.look.mirrors(-1, draw))
        if self.blur and draw.random() < self.blur:
            clip_CTHW = motion_blur(clip_CTHW, draw)
        return clip_CTHW, label_3


def spread(length: int, num: int) -> list[int]:
    """Return `num` of `length` frames at equal distances, the first and the last among them.

    Of a shorter video frames are repeated.
    """
    return [round(k * (length - 1) / max(num - 1, 1)) for k in range(num)]


class PersonSampler(Sampler[int]):
    """Batches of P persons with K clips each: `persons` after each other, each `clips` times.

    Persons come in a random order, each once before any comes again, and no batch has one twice.
    The clips of a person are of different tracklets if it has enough. The order depends
    on (seed, epoch) alone; every index of all epochs is another, so that its sample is too.

    Args:
        labels: The person of every tracklet.
        persons: P, of a batch.
        clips: K, of a person in a batch.
        length: Clips of an epoch; rounded down to whole batches, of which there is at least one.
        rank, size: Which of how many equal shares of each batch this one is; a share is of whole
            persons.

    Raises:
        DataError: there are fewer persons than a batch has, or they cannot be shared out whole.
    """

    def __init__(
        self,
        labels: Sequence[str],
        persons: int,
        clips: int,
        length: int,
        seed: int = 0,
        *,
        rank: int = 0,
        size: int = 1,
    ):
        self.own: dict[str, list[int]] = {}
        for place, person in enumerate(labels):
            self.own.setdefault(person, []).append(place)
        if not 2 <= persons <= len(self.own) or clips < 1:
            raise DataError(
                f"a batch has 2 persons or more, of {len(self.own)} there are, and 1 clip of each "
                f"or more, got {persons} and {clips}; use a smaller batch_size"
            )
        if persons % size or not 0 <= rank < size:
            raise DataError(f"{persons} persons cannot be shared by {size} processes")
        self.rank, self.size = rank, size
        self.num, self.persons, self.clips, self.seed = len(labels), persons, clips, seed
        self.length = max(length // (persons * clips), 1) * persons * clips
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.size

    def __iter__(self) -> Iterator[int]:
        batch, share = self.persons * self.clips, self.persons * self.clips // self.size
        for place, index in enumerate(self._every()):
            if place % batch // share == self.rank:
                yield index

    def _every(self) -> Iterator[int]:
        draw = np.random.default_rng((self.seed, self.epoch))
        place = self.epoch * self.length
        queue: list[str] = []
        for _ in range(self.length // (self.persons * self.clips)):
            batch: list[str] = []
            while len(batch) < self.persons:
                queue = queue or draw.permutation(sorted(self.own)).tolist()
                # one that is in the batch waits for the next
                person = next((p for p in queue if p not in batch), None)
                if person is None:
                    queue += draw.permutation(sorted(self.own)).tolist()
                    continue
                queue.remove(person)
                batch.append(person)
            for person in batch:
                for tracklet in self._clips_of(person, draw):
                    yield place * self.num + tracklet
                    place += 1

    def _clips_of(self, person: str, draw: np.random.Generator) -> list[int]:
        own = self.own[person]
        rounds = -(-self.clips // len(own))
        drawn = [int(t) for _ in range(rounds) for t in draw.permutation(own)]
        return drawn[: self.clips]
