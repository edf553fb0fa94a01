"""Which depth-merge context is active in a thread: a volume's depth is merged while one is.

Axes: B batch, C channels, D depth, H height, W width.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

__all__ = ["MOVING", "active", "again", "innermost", "inside", "is_moving", "volume"]

# per-thread stack of active depth-merge contexts, innermost last; None while on 5-D tensors
_LOCAL = threading.local()
MOVING = "moving"  # in place of a context while an axis is merged or restored


def active() -> tuple[Any, ...]:
    """Return this thread's contexts, innermost last."""
    return getattr(_LOCAL, "around", ())


def innermost() -> Any:
    """Return this thread's active depth-merge context; None while on 5-D tensors."""
    around = active()
    return around[-1] if around else None


def is_moving() -> bool:
    """Whether the functions that run merge depth into another axis, or restore it."""
    return innermost() is MOVING


@contextmanager
def inside(state: object) -> Iterator[None]:
    outer = active()
    _LOCAL.around = (*outer, state)
    try:
        yield
    finally:
        _LOCAL.around = outer


@contextmanager
def again(around: tuple[Any, ...]) -> Iterator[None]:
    """Make the contexts of an earlier run active: checkpointing repeats a part of it."""
    outer = active()
    _LOCAL.around = around
    try:
        yield
    finally:
        _LOCAL.around = outer


def volume(x: Tensor) -> Tensor:
    """Return a forward's `x` with its depth restored, if that is merged."""
    around = innermost()
    if around is None:
        return x
    with inside(None):
        return around.split_depth(x)
