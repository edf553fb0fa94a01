"""Clips of video to learn names for, and to be scored on."""

from typing import Any

from torch.utils.data import Dataset

from lean3d.data import MOTIONS, MovingDigits
from lean3d.errors import RunError
from lean3d.recipes.classification import ClassificationRecipe

__all__ = ["check_digits", "clips", "draw_digits"]


def clips(recipe: ClassificationRecipe) -> tuple[Dataset, Dataset]:
    """Samples (clip, class) to train on and to validate on."""
    check_digits(recipe)
    return draw_digits(recipe, recipe.train_samples, recipe.clip)


def check_digits(recipe: ClassificationRecipe) -> None:
    """Refuse data, classes and channels that are not those of the digits."""
    if recipe.data != "digits":
        raise RunError(f"recipe {recipe.name}: there are no clips called {recipe.data!r}; digits")
    if recipe.num_classes != len(MOTIONS) or recipe.in_channels != 3:
        raise RunError(
            f"digits have {len(MOTIONS)} classes and 3 channels, recipe {recipe.name} asks for "
            f"{recipe.num_classes} and {recipe.in_channels}"
        )


def draw_digits(
    recipe: ClassificationRecipe, num: int, clip: int | None
) -> tuple[MovingDigits, MovingDigits]:
    """`num` videos to train on and the recipe's number of others, cut to clips if asked for."""
    size: Any = dict(frames=recipe.video, clip=clip, size=recipe.size)
    return (
        MovingDigits(num, recipe.seed, split="train", **size),
        MovingDigits(recipe.val_samples, recipe.seed + 1, split="val", **size),
    )
