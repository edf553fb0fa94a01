"""Clips of video to train and validate a classifier on."""

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from lean3d.data import MOTIONS, MovingDigits, VideoClips
from lean3d.data.clip_window import ClipWindow
from lean3d.data.frame_times import FrameTimes
from lean3d.data.listing import Listing, Recording, hold_out, interleaved
from lean3d.data.look import Look
from lean3d.data.video_clips import with_times
from lean3d.data.video_sets import load_videos
from lean3d.errors import RunError
from lean3d.recipes.classification import ClassificationRecipe

__all__ = ["Clips", "Videos", "clips", "listing", "look", "videos", "whole_videos", "window"]

Clips = MovingDigits | VideoClips
# damaged videos that are named; the others are counted
NAMED = 20
# a hint with the names of more classes would not fit in a sentence
HINT = 300


@dataclass(frozen=True)
class Videos:
    """The videos of a recipe, by their parts "train", "val" and, if there is one, "test"."""

    parts: dict[str, list[Recording]]
    times: dict[Path, FrameTimes]
    folder: Path | None = None


def clips(recipe: ClassificationRecipe) -> tuple[Dataset, Dataset]:
    """Return samples (clip, class) to train on and to validate on."""
    if recipe.data == "digits":
        return _digits(recipe, recipe.train_samples, recipe.clip)
    return _clips(recipe, window(recipe), vary=True, raw=recipe.augment_on == "device")


def whole_videos(recipe: ClassificationRecipe, num: int) -> tuple[Clips, Clips]:
    """Return videos of up to `recipe.video` frames for features: `num` to train on, or all."""
    if recipe.data == "digits":
        return _digits(recipe, num, None)
    return _clips(recipe, replace(window(recipe), frames=recipe.video), vary=False, whole=True)


def window(recipe: ClassificationRecipe) -> ClipWindow:
    """Return which frames its clips hold."""
    return ClipWindow(recipe.clip, recipe.step, recipe.fps)


def look(recipe: ClassificationRecipe) -> Look:
    """Return the size, crop and colours of its clips."""
    sides: Any = recipe.short_side
    colours = {} if recipe.mean is None else dict(mean=recipe.mean, std=recipe.std)
    more: Any = dict(channels=recipe.in_channels, **colours)
    directed = frozenset(map(recipe.names.index, recipe.directed))
    return Look(recipe.sides, recipe.crop, sides, recipe.flip, directed, **more)


def videos(recipe: ClassificationRecipe, *, whole: bool = False) -> Videos:
    """Find the videos of a recipe and their frames; say on stderr what is left out.

    Args:
        whole: Leave data without parts whole, as the part "all".

    Raises:
        LeanError: they have other classes, or one of them is damaged.
    """
    found = listing(recipe)
    _check(recipe, found.classes, recipe.data)
    for sentence in found.left_out:
        _say(sentence)
    every = [recording for part in found.parts.values() for recording in part]
    skip = recipe.skip_damaged
    readable, times, errors = with_times(every, found.folder, skip_damaged=skip)
    for error in errors[:NAMED]:
        _say(f"left out: {error}")
    if len(errors) > NAMED:
        _say(f"left out: {len(errors) - NAMED} more damaged videos")
    kept = set(map(id, readable))
    parts = {name: [r for r in own if id(r) in kept] for name, own in found.parts.items()}
    if whole:
        return Videos(parts, times, found.folder)
    return Videos(_parts(recipe, replace(found, parts=parts).check()), times, found.folder)


def _parts(recipe: ClassificationRecipe, found: Listing) -> dict[str, list[Recording]]:
    """Return parts to train, to validate and, if there is one, to test on.

    Where a data set has no part to validate on, its test part validates, as in the papers.
    """
    parts = dict(found.parts)
    rest = parts.pop("all", None)
    split: Any = dict(seed=recipe.seed, group_by=recipe.group_by)
    settled = bool(parts.get("val") or parts.get("test"))
    for name, idle in (("group_by", settled), ("test_share", rest is None)):
        if idle and getattr(recipe, name):
            recipe.refuse(name, f"is for data without parts, and {found.name} has its own")
    if rest is not None and recipe.test_share:
        rest, parts["test"] = hold_out(rest, recipe.test_share, **split)
    if rest is not None:
        parts["train"], parts["val"] = hold_out(rest, recipe.held_out, **split)
    elif not settled:
        parts["train"], parts["val"] = hold_out(parts["train"], recipe.held_out, **split)
    elif not parts.get("val"):
        parts["val"] = parts["test"]
    return parts


def listing(recipe: ClassificationRecipe) -> Listing:
    """Return the recordings of a recipe's data."""
    if not recipe.data:
        raise RunError(
            f"recipe {recipe.name} needs data; pass --data with a folder of videos a class"
        )
    return load_videos(recipe.data, recipe.split)


def _digits(
    recipe: ClassificationRecipe, num: int, clip: int | None
) -> tuple[MovingDigits, MovingDigits]:
    if recipe.in_channels != 3:
        raise RunError(f"digits have 3 channels, recipe {recipe.name} has {recipe.in_channels}")
    _check(recipe, MOTIONS, "digits")
    size: Any = dict(frames=recipe.video, clip=clip, size=recipe.size)
    return (
        MovingDigits(num, recipe.seed, split="train", **size),
        MovingDigits(recipe.val_samples, recipe.seed + 1, split="val", **size),
    )


def _clips(
    recipe: ClassificationRecipe,
    window: ClipWindow,
    *,
    vary: bool,
    whole: bool = False,
    raw: bool = False,
) -> tuple[Clips, Clips]:
    found = videos(recipe)
    train, val = (interleaved(found.parts[part], recipe.seed) for part in ("train", "val"))
    given: Any = dict(window=window, look=look(recipe), times=found.times, whole=whole, raw=raw)
    num = recipe.train_samples if vary else len(train)
    return (
        VideoClips(train, num, recipe.seed, vary=vary, **given),
        VideoClips(val, min(recipe.val_samples, len(val)), recipe.seed, vary=False, **given),
    )


def _check(recipe: ClassificationRecipe, names: Any, what: str) -> None:
    """Refuse classes and channels that differ from those of the data."""
    if recipe.in_channels not in (1, 3):
        raise RunError(
            f"video has 3 channels, or 1 in grey, recipe {recipe.name} asks for "
            f"{recipe.in_channels}"
        )
    if recipe.num_classes != len(names) or recipe.names != tuple(names):
        flags = f"--num-classes {len(names)} --class-names {shlex.join(names)}"
        hint = f"pass {flags}" if len(flags) < HINT else "leave --num-classes and --class-names out"
        raise RunError(
            f"{what} has {len(names)} classes, recipe {recipe.name} asks for {recipe.num_classes}, "
            f"or by other names; {hint}"
        )


def _say(sentence: str) -> None:
    print(f"lean3d: {sentence}", file=sys.stderr)
