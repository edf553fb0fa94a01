"""An empty batch in a forward that merges depth into it: no depth could be divided out of none."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.surgery.subclass import own_class
from lean3d.conversion.trace.tree import mapped
from lean3d.errors import ShapeError
from lean3d.tracer import Args, Kwargs

__all__ = ["is_empty", "through_one"]


def is_empty(args: Args, kwargs: Kwargs) -> bool:
    """Whether there is a volume (0, C, D, H, W) among the inputs; a trace records none."""
    if torch.jit.is_tracing():
        return False
    found = False

    def look(x: Tensor) -> Tensor:
        nonlocal found
        found |= x.ndim == 5 and x.shape[0] == 0
        return x

    mapped((args, kwargs), look)
    return found


def through_one(module: nn.Module, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """Return the outputs of a volume of zeros, with none of them left.

    Raises:
        ShapeError: statistics that are kept in training would be those of zeros.
    """
    kept = [path for path, part in module.named_modules() if part.training and _keeps(part)]
    if kept:
        raise ShapeError(
            f"{own_class(module).__name__} was given a batch of no volumes in training, and "
            f"{kept[0]!r} keeps statistics; leave out steps that have no sample"
        )

    def one(x: Tensor) -> Tensor:
        return x if x.ndim == 0 or x.shape[0] else x.new_zeros((1, *x.shape[1:]))

    def none(x: Tensor) -> Tensor:
        return x[:0] if x.ndim and x.shape[0] == 1 else x

    ones = mapped((args, kwargs), one)
    return mapped(run(*ones[0], **ones[1]), none)


def _keeps(module: nn.Module) -> bool:
    return getattr(module, "running_mean", None) is not None
