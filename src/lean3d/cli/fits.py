"""Refuse inputs whose pass needs more memory than is free, before it is run."""

import math
from collections.abc import Sequence

from torch import nn

from lean3d.cost import count
from lean3d.errors import LeanError
from lean3d.limits import check_memory, check_sizes, free_memory

__all__ = ["check_fits"]

# an input this many times smaller than free memory fits with its feature maps
SMALL = 2000
REMEDY = "give smaller sizes or a smaller batch"


def check_fits(model: nn.Module, sizes: Sequence[int], *, training: bool = False) -> None:
    """Trace a pass of `model` on meta tensors, and compare its memory with the free memory.

    Args:
        training: A forward and backward pass.

    Raises:
        LeanError: gives the bytes needed and those that are free.
    """
    check_sizes("an input", sizes)
    what = f"an input of {' x '.join(map(str, sizes))}"
    size = 4 * math.prod(sizes)
    check_memory(what, size, REMEDY)
    free = free_memory()
    if free is not None and SMALL * size < free:
        return
    try:
        cost = count(model, sizes, training=training)
    except LeanError:
        return  # the caller reports errors of the model
    needed = max(cost.model_bytes + cost.peak_activation_bytes, cost.training_peak_bytes or 0)
    check_memory(f"a pass of {type(model).__name__} on {what}", needed, REMEDY)
