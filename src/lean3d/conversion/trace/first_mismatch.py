"""Find the first module whose 3D form differs from the 2D one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.source_line import stopping_line
from lean3d.conversion.trace.trial_run import run_lightly
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Mismatch", "Run", "find_first_mismatch", "why_it_stops"]

Run = tuple[nn.Module, tuple[Any, ...]]  # a model, and the arguments of its call


@dataclass(frozen=True)
class Mismatch:
    """The module whose own forward differs, and how.

    Args:
        error: Largest relative difference from 2D; None if `why` gives another reason.
    """

    path: str
    kind: str
    error: float | None
    why: str = ""


@dataclass(frozen=True)
class _Event:
    path: str  # the module whose input or output differs
    owner: str  # the module whose forward made the tensors
    values: list[Tensor]


class _FoundError(Exception):
    """Ends the 3D run at the first tensor that differs."""


def find_first_mismatch(flat: list[Run], deep: Run, judge: Callable[..., float]) -> Mismatch:
    """Run all models and compare every input and output of every module, in order.

    Args:
        judge: Called with the tensors of each 2D run and those of the 3D one; returns the
            difference: 0 if there is none, infinity if it is not a number.
    """
    records: list[list[_Event]] = [[] for _ in flat]
    for run, events in zip(flat, records, strict=True):
        _run(*run, events.append)
    expected = zip(*records, strict=False)

    def compare(event: _Event) -> None:
        ones = next(expected, ())
        if any(one.path != event.path for one in ones):
            raise _FoundError(event.owner, None, "it calls other modules than in 2D")
        worst = judge(*(one.values for one in (*ones, event))) if ones else 0.0
        if worst > 0 and not _is_folded(ones[0], event):
            number = math.isfinite(worst)
            why = "" if number else _beyond_numbers(ones[0], event)
            raise _FoundError(event.owner, worst if number else None, why)

    try:
        owner, why = _run(*deep, compare)
        error = None
    except _FoundError as found:
        owner, error, why = found.args
    if error is None and not why:
        why = "it gives another output than in 2D, but not twice the same"
    return Mismatch(owner, type(deep[0].get_submodule(owner)).__name__, error, why)


def why_it_stops(model: nn.Module, arguments: tuple[Any, ...]) -> str:
    """Return the innermost module that was running, the line of its code and the error."""
    path, why = _run(model, arguments, lambda event: None)
    return f"in {type(model.get_submodule(path)).__name__} at {path!r} {why}" if path else why


def _is_folded(one: _Event, other: _Event) -> bool:
    """Skip depth-merged forwards: depth is in another axis, so nothing can be compared."""
    pairs = list(zip(one.values, other.values, strict=False))
    return any(a.ndim == b.ndim and a.shape != b.shape for a, b in pairs)


def _beyond_numbers(one: _Event, other: _Event) -> str:
    if not all(x.is_meta or x.isfinite().all() for x in other.values):
        return "there are values that are not finite"
    flat, deep = ([tuple(x.shape) for x in event.values] for event in (one, other))
    return f"there is a tensor {deep} where in 2D there is {flat}"


def _run(
    model: nn.Module, arguments: tuple[Any, ...], see: Callable[[_Event], None]
) -> tuple[str, str]:
    """Return the innermost module that was running when the model failed, and the reason."""
    watch = _Events(model, see)
    try:
        watch.see(lambda: run_lightly(model, arguments))
    except _FoundError:
        raise
    except Exception as error:  # a user's forward may raise anything
        line, first = stopping_line(error), f"{type(error).__name__}: {error}".splitlines()[0]
        return watch.failed, f"it stops at {line} ({first})" if line else f"it stops ({first})"
    return "", ""


class _Events(Watch):
    def __init__(self, model: nn.Module, note: Callable[[_Event], None]):
        super().__init__(model)
        self.note = note

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        self.note(_Event(path, self.stack[-1] if self.stack else "", _clones(args)))

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        self.note(_Event(path, path, _clones(output)))


def _clones(value: object) -> list[Tensor]:
    # in-place activations overwrite recorded tensors
    return [tensor.detach().clone() for tensor in tensors(value)]
