"""The model of `lean3d stream`: of a run, or of the registry."""

import sys
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lean3d.checkpoints import load_checkpoint
from lean3d.cli.model import ModelFlags
from lean3d.errors import RunError
from lean3d.stream import Stream, stream

__all__ = ["LiveModel", "load_live"]

SIZE = 112


@dataclass(frozen=True)
class LiveModel:
    """A classifier that steps, the side of its frames, and what it calls its classes."""

    live: Stream
    size: int
    names: tuple[str, ...]


def load_live(
    network: ModelFlags, size: int | None, weights: Path | None, format: str | None
) -> LiveModel:
    """The run that `network.model` is the folder of, or else the registered model of that name."""
    if size is not None and size < 1:
        raise RunError(f"--size is 1 pixel or more, got {size}")
    if Path(network.model).is_dir():
        given = network.num_classes, network.widths, weights, format
        if network.options or any(value is not None for value in given):
            raise RunError(f"{network.model} is a run, which has its own model and weights")
        return _of_run(Path(network.model), size)
    model = network.build(in_channels=3).eval()
    if weights is None:
        print("lean3d: the weights are random; pass --weights, or a run", file=sys.stderr)
    else:
        load_checkpoint(model, weights, format=format)
    side = size or SIZE
    live = stream(model, frame=(3, side, side))
    return LiveModel(live, side, _numbers(live, side))


def _of_run(folder: Path, size: int | None) -> LiveModel:
    from lean3d.recipes import ClassificationRecipe
    from lean3d.recipes.runs import load_run

    model, recipe = load_run(folder)
    if not isinstance(recipe, ClassificationRecipe):
        raise RunError(f"{folder} learnt {recipe.task} and stream names clips; use lean3d predict")
    side = size or recipe.size
    frame = (recipe.in_channels, side, side)
    return LiveModel(stream(model, frame=frame), side, recipe.names)


def _numbers(live: Stream, side: int) -> tuple[str, ...]:
    """The classes' numbers, as many as the model's last layer has."""
    heads = [module for module in live.model.modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise RunError("stream names clips, and this model has no linear layer to name them")
    return tuple(map(str, range(heads[-1].out_features)))
