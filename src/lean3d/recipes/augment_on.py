"""Where the clips of a run are resized, mirrored and normalised."""

from collections.abc import Callable
from dataclasses import replace

import torch

from lean3d.data.raw_clips import LookOnDevice
from lean3d.errors import MissingExtraError
from lean3d.recipes.base import Recipe
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.clips import look

__all__ = ["placed"]


def placed(
    recipe: Recipe, accelerator: str, say: Callable[[str], None]
) -> tuple[Recipe, LookOnDevice | None]:
    """Return the recipe with `augment_on` decided for this machine, and what its device does.

    Args:
        accelerator: As `lean3d.train.fit.fit` takes it.
        say: Called with what would be quicker.

    Raises:
        MissingExtraError: the device is asked for, and torchvision is not installed.
    """
    if not isinstance(recipe, ClassificationRecipe) or recipe.augment_on == "loader":
        return recipe, None
    if recipe.augment_on == "device":
        return recipe, LookOnDevice(look(recipe))
    if recipe.varied and accelerator != "cpu" and torch.cuda.is_available():
        try:
            return replace(recipe, augment_on="device"), LookOnDevice(look(recipe))
        except MissingExtraError as error:
            say(f"clips are resized in the loading processes, not on the GPU: {error}")
    return replace(recipe, augment_on="loader"), None
