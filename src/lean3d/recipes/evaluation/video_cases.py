"""The videos that a classifier of clips is scored on, and their clips by the papers' protocols.

- `clips` clips at equal distances, of each the middle crop (CSN, arXiv:1904.02811, Sec 4.1: 10), or
  three crops along the longer side (30 in all); PmSCn takes 20 clips.
- every window of a stride (D3D, arXiv:2009.14639, Sec 3.3: 1, its fc head).
- the whole video at once (D3D's recurrent heads).

Axes: B clips, C channels, T time, H height, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lean3d.data import MovingDigits
from lean3d.data.clip_window import ClipWindow
from lean3d.data.damage import Damage
from lean3d.data.frame_times import FrameTimes
from lean3d.data.listing import Recording
from lean3d.data.look import Look
from lean3d.data.video_clips import read_clip
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.clips import clips, look, videos
from lean3d.recipes.evaluation.settings import Settings
from lean3d.recipes.places import same_data

__all__ = ["DigitsCase", "VideoCase", "protocol_look", "video_cases"]


@dataclass(frozen=True)
class VideoCase:
    """A labelled video, or stretch of one.

    Args:
        name: Different from all others, and a valid name of a file.
        recording: Its path, classes and span.
        damage: Names the videos of which a part cannot be decoded.
    """

    name: str
    recording: Recording
    times: FrameTimes
    damage: Damage | None = None

    @property
    def stamp(self) -> str:
        found = self.recording.path.stat()
        return f"{self.recording} {found.st_size} {found.st_mtime_ns}"

    @property
    def labels(self) -> tuple[int, ...]:
        return self.recording.labels

    def numbers(self, window: ClipWindow, settings: Settings) -> list[list[int]]:
        """Return the frames of every clip."""
        at = window.places(self.recording, self.times)
        if settings.whole:
            return [list(at)]
        if settings.stride is not None:
            return window.every(at, settings.stride)
        return window.spread(at, settings.clips)

    def clips(self, window: ClipWindow, look: Look, settings: Settings) -> Iterator[Tensor]:
        """Yield clips (C, T, H, W), all crops of one clip after each other."""
        for numbers in self.numbers(window, settings):
            frames = read_clip(self.recording.path, numbers, self.times, self.damage)
            size = frames[0].shape[:2]
            boxes = [look.middle(size)] if settings.crops == 1 else look.three(size)
            yield from (look.apply(frames, box) for box in boxes)

    def pictures(self, num: int) -> list[Tensor]:
        """Return frames at equal distances, (H, W, 3) uint8."""
        at = ClipWindow(1).places(self.recording, self.times)
        places = [at[round(k * (len(at) - 1) / max(num - 1, 1))] for k in range(num)]
        return read_clip(self.recording.path, places, self.times)


@dataclass(frozen=True)
class DigitsCase:
    """A generated clip of moving digits: one clip, whatever the protocol."""

    name: str
    data: MovingDigits
    index: int

    @property
    def stamp(self) -> str:
        return f"{self.data.seed} {self.index} {len(self.data)}"

    @property
    def labels(self) -> tuple[int, ...]:
        return (int(self.data[self.index][1]),)

    def clips(self, window: ClipWindow, look: Look, settings: Settings) -> Iterator[Tensor]:
        yield self.data[self.index][0]

    def pictures(self, num: int) -> list[Tensor]:
        clip_CTHW = self.data[self.index][0]
        places = torch.linspace(0, clip_CTHW.shape[1] - 1, num).round().long()
        pixels = ((clip_CTHW[:, places] * 0.225 + 0.45) * 255).clamp(0, 255).to(torch.uint8)
        return list(pixels.permute(1, 2, 3, 0))


def video_cases(recipe: ClassificationRecipe, data: str | None) -> list[Any]:
    """Return the videos to score on: of a test part if there is one, otherwise those held out.

    Args:
        data: Other data of the same classes; all of it if it has no parts.
    """
    if recipe.data == "digits" and data in (None, "digits"):
        drawn: Any = clips(recipe)[1]
        return [DigitsCase(f"{n:05}", drawn, n) for n in range(len(drawn))]
    asked = data or recipe.data
    own = same_data(asked, recipe.data)
    found = videos(replace(recipe, data=asked), whole=not own)
    part = next(name for name in ("test", "val", "all", "train") if found.parts.get(name))
    names: dict[str, int] = {}
    cases = []
    damage = Damage(recording.path for recording in found.parts[part])
    for recording in found.parts[part]:
        name = _name(recording.path, found.folder)
        names[name] = names.get(name, 0) + 1
        more = f"~{names[name]}" if names[name] > 1 else ""
        times = found.times[recording.path]
        cases.append(VideoCase(name + more, recording, times, damage))
    return cases


def protocol_look(recipe: ClassificationRecipe, settings: Settings) -> Look:
    """Return the look of a recipe's clips, at the size that the protocol asks for."""
    if settings.size is None:
        return look(recipe)
    side = settings.size
    sides = recipe.short_side
    short = None if sides is None else (max(sides[0], side), max(sides[1], side))
    return look(replace(recipe, size=side, width=None, short_side=short))


def _name(path: Path, folder: Path | None) -> str:
    inside = folder is not None and path.is_relative_to(folder)
    parts = path.relative_to(folder).parts if folder is not None and inside else path.parts[-2:]
    # the end tells videos of one class apart; names of files are at most 255 bytes
    return "__".join(parts)[-120:]
