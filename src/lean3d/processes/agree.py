"""Steps that all processes of a run take together: a result or an error of one is that of all.

Every process must call these in the same order.
"""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from lean3d.errors import LeanError, RunError
from lean3d.processes.places import place

__all__ = ["agreed", "by_first", "gathered", "in_turn", "portable"]

T = TypeVar("T")


def gathered(value: T) -> list[T]:
    """Return the values of all processes, in their order."""
    if place().size == 1:
        return [value]
    found: list[Any] = [None] * place().size
    dist.all_gather_object(found, value)
    return found


def agreed(function: Callable[[], T]) -> T:
    """Call a function in every process at once; an error in one is raised in all."""
    if place().size == 1:
        return function()
    result, error = _attempt(function)
    _share(error)
    return result


def by_first(function: Callable[[], T]) -> T:
    """Return what process 0 gets from a function; the others do not call it."""
    return gathered(agreed(function if place().first else lambda: None))[0]  # type: ignore[return-value]


def in_turn(function: Callable[[], T]) -> T:
    """Call a function in process 0 first, then in all others: they find what it has written."""
    if place().size == 1:
        return function()
    if place().first:
        result = agreed(function)
        _share(None)
        return result
    _share(None)
    return agreed(function)


def portable(error: Exception) -> Exception:
    """Return the error, or one of ours with its text if it cannot be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")
    return error


def _attempt(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return function(), None
    except Exception as error:
        return None, error


def _share(error: Exception | None) -> None:
    """Raise the error of the first process that has one, in all of them."""
    found = gathered(None if error is None else portable(error))
    rank, first = next(((r, e) for r, e in enumerate(found) if e is not None), (0, None))
    if first is None:
        return
    if rank == place().rank:
        assert error is not None
        raise error
    if place().first and isinstance(first, LeanError):
        first = type(first)(f"process {rank} of {place().size}: {first}")
    # process 0, or the one that has it, says it
    first.elsewhere = not place().first  # type: ignore[attr-defined]
    raise first
