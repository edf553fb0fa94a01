"""Find the first module whose 3D form does not follow the 2D one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from lean3d.convert.compare import difference, tensors
from lean3d.convert.sizes import run_lightly

__all__ = ["Culprit", "attempt", "find_culprit"]


@dataclass(frozen=True)
class Culprit:
    """The module whose own forward goes wrong, and how.

    Args:
        error: Largest relative difference from 2D; None if `why` says what is wrong instead.
    """

    path: str
    kind: str
    error: float | None
    why: str = ""


@dataclass(frozen=True)
class _Event:
    path: str  # what entered or left
    owner: str  # whose forward made the tensors
    values: list[Any]


def find_culprit(
    flat: nn.Module,
    deep: nn.Module,
    inputs: tuple[tuple[Any, ...], tuple[Any, ...]],
    axis: int,
    tolerance: float,
) -> Culprit:
    """Run both models and compare every tensor that enters or leaves a module, in order.

    Args:
        inputs: Arguments of the 2D and of the 3D model.
        axis: The axis of the volume (2 or 3) along which it repeats the image.
    """
    expected, _, _ = _record(flat, inputs[0])
    found, owner, why = _record(deep, inputs[1])
    error = None
    for one, other in zip(expected, found, strict=False):
        if one.path != other.path:
            owner, why = other.owner, "it calls other modules than in 2D"
            break
        worst = difference(one.values, other.values, axis)
        if worst > tolerance and not _is_folded(one, other):
            owner = other.owner
            error, why = (None, _beyond_numbers(one, other)) if math.isinf(worst) else (worst, "")
            break
    kind = type(deep.get_submodule(owner)).__name__
    if error is None and not why:
        why = "it gives another answer than in 2D, but not twice the same"
    return Culprit(owner, kind, error, why)


def _is_folded(one: _Event, other: _Event) -> bool:
    """Inside a folded forward depth is in another axis, so nothing can be compared."""
    pairs = list(zip(one.values, other.values, strict=False))
    return any(a.ndim == b.ndim and a.shape != b.shape for a, b in pairs)


def _beyond_numbers(one: _Event, other: _Event) -> str:
    if not all(x.isfinite().all() for x in other.values):
        return "there are values that are not finite"
    flat, deep = ([tuple(x.shape) for x in event.values] for event in (one, other))
    return f"there is a tensor {deep} where in 2D there is {flat}"


def attempt(model: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, Culprit | None]:
    """The model's output, or the module in which it stopped."""
    try:
        return run_lightly(model, arguments), None
    except Exception:  # whatever a foreign forward raises
        _, active, why = _record(model, arguments)
        return None, Culprit(active, type(model.get_submodule(active)).__name__, None, why)


def _record(model: nn.Module, arguments: tuple[Any, ...]) -> tuple[list[_Event], str, str]:
    """Events, the innermost module that was running when the model stopped, and why it stopped."""
    events: list[_Event] = []
    stack = [""]

    def enter(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            events.append(_Event(path, stack[-1], _clones(inputs)))
            stack.append(path)

        return hook

    def leave(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            events.append(_Event(path, path, _clones(output)))
            stack.pop()

        return hook

    handles: list[Any] = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(path)))
        handles.append(module.register_forward_hook(leave(path)))
    why = ""
    try:
        run_lightly(model, arguments)
    except Exception as error:
        first_line = f"{type(error).__name__}: {error}".splitlines()[0]
        why = f"it stops ({first_line})"
    finally:
        for handle in handles:
            handle.remove()
    return events, stack[-1], why


def _clones(value: Any) -> list[Any]:
    # in-place activations overwrite what was seen
    return [tensor.detach().clone() for tensor in tensors(value)]
