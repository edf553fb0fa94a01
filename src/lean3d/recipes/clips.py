"""Clips of video to train and validate a classifier on."""

from typing import Any

from torch.utils.data import Dataset

from lean3d.data import MOTIONS, MovingDigits, VideoClips
from lean3d.data.video_clips import find_videos, split_videos
from lean3d.errors import RunError
from lean3d.recipes.classification import ClassificationRecipe

__all__ = ["Clips", "clips", "whole_videos"]

Clips = MovingDigits | VideoClips


def clips(recipe: ClassificationRecipe) -> tuple[Dataset, Dataset]:
    """Return samples (clip, class) to train on and to validate on."""
    if recipe.data == "digits":
        return _digits(recipe, recipe.train_samples, recipe.clip)
    return _videos(recipe, recipe.clip, vary=True)


def whole_videos(recipe: ClassificationRecipe, num: int) -> tuple[Clips, Clips]:
    """Return videos of `recipe.video` frames for features: `num` to train on, or all there are."""
    if recipe.data == "digits":
        return _digits(recipe, num, None)
    return _videos(recipe, recipe.video, vary=False)


def _digits(
    recipe: ClassificationRecipe, num: int, clip: int | None
) -> tuple[MovingDigits, MovingDigits]:
    _check(recipe, MOTIONS, "digits")
    size: Any = dict(frames=recipe.video, clip=clip, size=recipe.size)
    return (
        MovingDigits(num, recipe.seed, split="train", **size),
        MovingDigits(recipe.val_samples, recipe.seed + 1, split="val", **size),
    )


def _videos(recipe: ClassificationRecipe, clip: int, *, vary: bool) -> tuple[Clips, Clips]:
    if not recipe.data:
        raise RunError(
            f"recipe {recipe.name} needs data; pass --data with a folder of videos a class"
        )
    names, found = find_videos(recipe.data)
    _check(recipe, names, recipe.data)
    train, val = split_videos(found, recipe.held_out, recipe.seed)
    size: Any = dict(clip=clip, size=recipe.size)
    num = recipe.train_samples if vary else len(train)
    return (
        VideoClips(train, num, recipe.seed, vary=vary, **size),
        VideoClips(val, min(recipe.val_samples, len(val)), recipe.seed, vary=False, **size),
    )


def _check(recipe: ClassificationRecipe, names: Any, what: str) -> None:
    """Refuse classes and channels that differ from those of the data."""
    if recipe.in_channels != 3:
        raise RunError(f"video has 3 channels, recipe {recipe.name} asks for {recipe.in_channels}")
    if recipe.num_classes != len(names) or recipe.names != tuple(names):
        raise RunError(
            f"{what} has {len(names)} classes, recipe {recipe.name} asks for {recipe.num_classes}, "
            f"or by other names; pass --num-classes {len(names)} --class-names {' '.join(names)}"
        )
