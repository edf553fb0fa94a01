"""Find a volume on which a 3D network runs.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.surgery.copies import in_eval
from lean3d.conversion.surgery.fx import without_traces
from lean3d.conversion.trace.tree import copies
from lean3d.conversion.trace.trial_run import trying
from lean3d.errors import ConversionError
from lean3d.guesses import likely_channels, random_input

__all__ = ["example_for", "run", "runs"]

SIZES = [(8, 32, 32), (16, 32, 32), (16, 64, 64), (16, 112, 112), (16, 224, 224), (64, 224, 224)]


def example_for(model: nn.Module, example: object) -> tuple[Tensor, ...] | None:
    """Return the given arguments, or the smallest of some volumes on which the model runs.

    Raises:
        ConversionError: the model does not run on the example given.
    """
    if example is not None:
        arguments = example if isinstance(example, tuple) else (example,)
        error = _fails(model, arguments)
        if error:
            raise ConversionError(f"{type(model).__name__} does not run on example=: {error}")
        return arguments
    shapes = [(1, channels, *size) for channels in likely_channels(model, 1) for size in SIZES]
    volumes = (random_input(model, shape) for shape in shapes)
    return next(((volume,) for volume in volumes if not _fails(model, (volume,))), None)


def run(model: nn.Module, arguments: tuple[Any, ...]) -> Any:
    """Run one pass in eval mode, without gradients; the model's own flags are restored."""
    with in_eval(model), torch.no_grad(), trying(), without_traces(model):
        return model(*copies(arguments))


def runs(model: nn.Module, arguments: tuple[Any, ...]) -> bool:
    """Whether the model accepts these arguments."""
    return not _fails(model, arguments)


def _fails(model: nn.Module, arguments: tuple[Any, ...]) -> str:
    try:
        run(model, arguments)
    except Exception as error:  # a user's forward may raise anything; the size is skipped
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""
