"""Clips of video to learn names for, and to be scored on."""

from typing import Any

from torch.utils.data import Dataset

from lean3d.data import MOTIONS, MovingDigits
from lean3d.errors import RunError
from lean3d.recipes.classification import ClassificationRecipe

__all__ = ["clips"]


def clips(recipe: ClassificationRecipe) -> tuple[Dataset, Dataset]:
    """Samples (clip, class) to train on and to validate on."""
    if recipe.data != "digits":
        raise RunError(f"recipe {recipe.name}: there are no clips called {recipe.data!r}; digits")
    if recipe.num_classes != len(MOTIONS) or recipe.in_channels != 3:
        raise RunError(
            f"digits have {len(MOTIONS)} classes and 3 channels, recipe {recipe.name} asks for "
            f"{recipe.num_classes} and {recipe.in_channels}"
        )
    size: Any = dict(frames=recipe.video, clip=recipe.clip, size=recipe.size)
    return (
        MovingDigits(recipe.train_samples, recipe.seed, split="train", **size),
        MovingDigits(recipe.val_samples, recipe.seed + 1, split="val", **size),
    )
