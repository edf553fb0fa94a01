"""Build the model of a recipe."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lean3d.conversion.unfitted import unfitted
from lean3d.errors import RunError
from lean3d.lightening import read_cut, restructure
from lean3d.networks import Built, Network
from lean3d.recipes.base import Recipe
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.options import read_options
from lean3d.train.two_stage import whole

__all__ = ["Start", "build_model"]


@dataclass(frozen=True)
class Start:
    """Initial weights of a model, and their number of classes."""

    weights: dict[str, Tensor]
    num_classes: int


def build_model(recipe: Recipe, start: Start | None = None, *, weights: bool = False) -> Built:
    """Return the recipe's model from its seed.

    Args:
        start: Weights of the run it starts from.
        weights: Load the recipe's weights. A run that has begun has its own: without these and
            without `start`, lean forms are not fitted, and the weights are to be read next.
    """
    take = None if start is None else lambda model: _take(model, start, recipe)
    fits = nullcontext() if weights or start is not None else unfitted()
    with torch.random.fork_rng(), fits:
        torch.manual_seed(recipe.seed)
        built = _network(recipe, weights).build(None if recipe.cuts else take)
        if recipe.cuts:
            restructure(built.model, map(read_cut, recipe.cuts))
            built = built if take is None else built._replace(fresh=tuple(take(built.model)))
    if isinstance(recipe, ClassificationRecipe) and recipe.staged:
        whole(space=recipe.shrink, time=recipe.skip).enter(built.model)
    return built


def _network(recipe: Recipe, weights: bool) -> Network:
    names = ["in_channels", "conv", "widths", "convert", "keep_depth"]
    names += ["weights", "weights_part", "format"] if weights else []
    given = {name: getattr(recipe, name) for name in names}
    return Network(
        recipe.model,
        segment=recipe.task in ("segmentation", "affinities"),
        num_classes=recipe.num_outputs,
        options=read_options(recipe.options),
        **given | ({"keep_depth": 0} if recipe.keep_depth == "auto" else {}),
    )


def _take(model: nn.Module, start: Start, recipe: Recipe) -> list[str]:
    """Load the weights of `start` into `model`; return the names left re-initialised."""
    own, fresh = model.state_dict(), []
    weights = {k: _inflated(start.weights[k], v) for k, v in own.items() if k in start.weights}
    for name, value in own.items():
        given = weights.get(name)
        if given is not None and given.shape == value.shape:
            continue
        if name.startswith(recipe.new_parts):
            fresh.append(name)
            continue
        heads = (start.num_classes, *value.shape[1:]), (recipe.num_outputs, *value.shape[1:])
        if given is None or (tuple(given.shape), tuple(value.shape)) != heads:
            found = "nothing" if given is None else f"shape {tuple(given.shape)}"
            raise RunError(
                f"{recipe.start_from} cannot start {recipe.name}: {name} has shape "
                f"{tuple(value.shape)} here and {found} there; use the widths and options of that "
                "run, and a conv that keeps 2D kernels (acs, mean_acs, planar) or convert"
            )
        fresh.append(name)
    model.load_state_dict({**own, **{k: weights[k] for k in own.keys() - set(fresh)}})
    return fresh


def _inflated(given: Tensor, here: Tensor) -> Tensor:
    """Return a kernel of one frame repeated over the frames of `here`; its sum is the same."""
    sides = given.shape[:2] + given.shape[3:], here.shape[:2] + here.shape[3:]
    if given.ndim == here.ndim == 5 and given.shape[2] == 1 and sides[0] == sides[1]:
        return given.expand_as(here) / here.shape[2]
    return given
