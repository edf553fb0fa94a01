"""The input of published weights as the look and the window of clips."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from lean3d.checkpoints import Preprocessing
from lean3d.data.look import Look
from lean3d.recipes.classification import ClassificationRecipe

__all__ = ["published_look", "with_published_input"]


def published_look(
    known: Preprocessing | None, size: int | None, default: int, channels: int = 3
) -> Look:
    """Return what the clips looked like that weights were trained on.

    Args:
        known: As `load_checkpoint` tells it; None for weights of one's own.
        size: Height and width instead of the published ones.
        default: Of weights that do not tell them.
    """
    if known is None:
        return Look((size or default,) * 2, channels=channels)
    colours: dict[str, Any] = {}
    if known.mean and known.std and len(known.mean) == channels:
        colours["mean"] = tuple(value / known.white for value in known.mean)
        colours["std"] = tuple(value / known.white for value in known.std)
    side = size or known.size or default
    if known.short_side is not None:
        # the same part of the frame at another size
        short = round(known.short_side * side / (known.size or side))
        colours["short_side"] = (short, short)
    return Look((side, side), channels=channels, **colours)


def with_published_input(
    recipe: ClassificationRecipe, model: nn.Module, say: Callable[[str], None]
) -> ClassificationRecipe:
    """Return the recipe with the mean and deviation of its published weights, if it has none.

    Args:
        model: With `checkpoint`, as `load_checkpoint` leaves it.
        say: Called with what the weights were trained on, if the recipe's clips are others.
    """
    loaded = getattr(model, "checkpoint", None)
    if loaded is None or loaded.preprocessing is None:
        return recipe
    known: Preprocessing = loaded.preprocessing
    asked = dict(clip=recipe.clip, step=recipe.step, fps=recipe.fps, size=recipe.size)
    theirs = dict(clip=known.frames, step=known.step, fps=known.fps, size=known.size)
    other = {k: v for k, v in theirs.items() if v is not None and v != asked[k]}
    if other:
        flags = " ".join(f"--{name} {value:g}" for name, value in other.items())
        say(f"the weights of {loaded.path} were trained with {flags}")
    colours = published_look(known, None, recipe.size, recipe.in_channels)
    if recipe.mean is not None or known.mean is None:
        return recipe
    return replace(recipe, mean=colours.mean, std=colours.std)
