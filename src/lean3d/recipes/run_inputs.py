"""Inputs of the network of a run, taken from the data it was trained on."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

from torch import Tensor

from lean3d.errors import RunError
from lean3d.recipes.base import Recipe
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.datasets import loaders
from lean3d.recipes.load import read_record

__all__ = ["run_inputs"]


def run_inputs(run: str | Path, count: int, *, data: str | None = None) -> list[Tensor]:
    """Return up to `count` training samples of a run, each (1, C, ...) as its network takes it.

    They are not those that the run held out, whose scores thus stay what they are.

    Args:
        data: Other data of the same kind.

    Raises:
        RunError: its network takes no samples, but features of another one.
    """
    record = read_record(Path(run))
    recipe = Recipe.from_dict(record["recipe"])
    split = record.get("split") if data is None else None
    recipe = replace(recipe, workers=0, data=data or recipe.data)
    if isinstance(recipe, ClassificationRecipe):
        recipe = replace(recipe, augment_on="loader")
    loader, _ = loaders(recipe, split)
    found = [x[None] for batch in islice(loader, -(-count // recipe.batch_size)) for x in batch[0]]
    sample = (1, recipe.in_channels, *recipe.input_size)
    if tuple(found[0].shape) != sample:
        raise RunError(
            f"{run} was trained on samples of {tuple(found[0].shape)}, not on inputs "
            f"{sample} of its network; int8 needs those"
        )
    return found[:count]
