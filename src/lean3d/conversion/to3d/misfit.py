"""Say which volume a converted network takes where the one given does not fit.

A decoder that joins its skips needs sizes that halve without a remainder, and torch says only
which two sizes differ. The network is run once more without values, to find the axis and a size
that fits.

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lean3d.conversion.surgery.copies import without_memory
from lean3d.conversion.surgery.subclass import Mixed, mixed, own_class
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.tree import mapped
from lean3d.conversion.trace.trial_run import in_trial, run_lightly
from lean3d.errors import LeanError, ShapeError
from lean3d.shape import Triple, sizes

__all__ = ["Explained", "explain_sizes"]

AXES = {2: "depth", 3: "height", 4: "width"}
FIRST = 120  # characters of the error that are quoted
MULTIPLES = (2, 4, 8, 16, 32, 64, 128, 224, 256)


class Explained(Mixed):
    """A converted network whose errors about sizes say what size fits."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or in_trial():
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        try:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        except (RuntimeError, ValueError, AssertionError) as error:
            others = isinstance(error, LeanError) and not isinstance(error, ShapeError)
            model: Any = self
            said = "" if others else _explanation(model, args, kwargs, error)
            if not said:
                raise
            raise ShapeError(said) from error


def explain_sizes(model: nn.Module) -> None:
    """Let the errors of a converted network say what size fits, if forwards in it join maps."""
    kinds = map(own_class, model.modules())
    if any(not kind.__module__.startswith(("torch.", "lean3d.ops.")) for kind in kinds):
        model.__class__ = mixed(Explained, type(model))


def _explanation(
    model: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], error: Exception
) -> str:
    """Return one sentence, or nothing where no size is found that fits."""
    volume = next((x for x in tensors([*args, *kwargs.values()]) if x.ndim == 5), None)
    if volume is None:
        return ""
    depth, height, width = sizes(volume)[2:]
    given: Triple = (depth, height, width)
    try:
        light = without_memory(model)
    except Exception:  # a module may refuse the move
        return ""
    runs = _Runs(light, args, kwargs, given)
    if runs(given):
        return ""
    fits = next((size for size in _larger(given) if runs(size)), None)
    if fits is None:
        return ""
    for place, size in enumerate(given):  # no more than is needed
        less: Any = (*fits[:place], size, *fits[place + 1 :])
        fits = less if runs(less) else fits
    changes = [
        f"{AXES[axis]} from {old} to {new}"
        for axis, (old, new) in enumerate(zip(given, fits, strict=True), start=2)
        if old != new
    ]
    why = str(error).splitlines()[0].split(", because")[0][:FIRST].rstrip(".")
    why = runs.joins() or why
    return (
        f"{type(model).__name__} does not take a volume of (D, H, W) = {given}; {fits} fits: pad "
        f"{' and '.join(changes)} ({why})"
    )


def _larger(given: Triple) -> Iterator[Any]:
    for multiple in MULTIPLES:
        yield tuple(-(-size // multiple) * multiple for size in given)


class _Runs:
    """Whether a network without values runs on volumes of some size."""

    def __init__(
        self,
        model: nn.Module,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        given: Triple,
    ):
        self.model, self.arguments, self.given = model, (args, kwargs), given
        self.failed: _Failed | None = None

    def __call__(self, size: Triple) -> bool:
        def resized(x: object) -> object:
            if not isinstance(x, Tensor):
                return x
            shape = tuple(x.shape)
            shape = (*shape[:2], *size) if shape[2:] == tuple(self.given) else shape
            return torch.empty(shape, dtype=x.dtype, device="meta")

        args, kwargs = mapped(self.arguments, resized)
        failed = _Failed()
        try:
            with torch.no_grad(), failed:
                run_lightly(self.model, args, **kwargs)
        except Exception:  # a forward may raise anything
            self.failed = self.failed or failed
            return False
        return True

    def joins(self) -> str:
        """Return the sizes that did not fit each other, if a function was given such maps."""
        shapes = self.failed.shapes if self.failed is not None else None
        for axis, along in enumerate(zip(*(s[2:] for s in shapes or ()), strict=False), start=2):
            if len(set(along)) > 1:
                joined = " and ".join(map(str, along))
                return f"it joins maps of {joined} voxels along axis {axis}, {AXES[axis]}"
        return ""


class _Failed(TorchFunctionMode):
    """Notes the volumes of the function that raised."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] | None = None

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        try:
            return function(*args, **(kwargs or {}))
        except Exception:
            if self.shapes is None:
                given = tensors([*args, *(kwargs or {}).values()])
                self.shapes = [tuple(x.shape) for x in given if x.ndim == 5]
            raise
