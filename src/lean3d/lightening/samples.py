"""Real samples for the choice: a tensor, or batches of a loader, checked against the example."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from lean3d.errors import LeanError
from lean3d.typed import shortened

__all__ = ["Samples", "read_samples"]

MOST_BATCHES = 16


class Samples:
    """Batches of inputs, and of targets if there are any.

    Args:
        real: Whether they were given, and are not the example.
    """

    def __init__(self, batches: list[tuple[tuple[Tensor, ...], Any]], real: bool):
        self.batches, self.real = batches, real

    @property
    def inputs(self) -> list[tuple[Tensor, ...]]:
        return [given for given, _ in self.batches]

    def first(self, most: int) -> tuple[tuple[Tensor, ...], Any]:
        """Return one batch of the first samples, `most` at the most, and their targets."""
        given: list[Tensor] = []
        targets: list[Tensor] = []
        if len(self.batches[0][0]) > 1:
            return self.batches[0]
        for (x, *_), target in self.batches:
            given.append(x)
            if isinstance(target, Tensor):
                targets.append(target)
            if sum(map(len, given)) >= most:
                break
        x = torch.cat(given)[:most]
        whole = len(targets) == len(given)
        return (x,), torch.cat(targets)[:most] if whole else None


def read_samples(data: Any, example: tuple[Tensor, ...], device: torch.device) -> Samples:
    """Read the first batches of `data`: a tensor, or an iterable of tensors or (x, target).

    Raises:
        LeanError: a batch is of another shape than the example, or there is none.
    """
    if data is None:
        _check(example[0], example[0], "example")
        return Samples([(example, None)], False)
    if isinstance(data, Tensor):
        data = [data]
    if not isinstance(data, Iterable) or isinstance(data, str):
        raise LeanError(f"lighten: data is a tensor or batches of a loader, got {shortened(data)}")
    batches: list[tuple[tuple[Tensor, ...], Any]] = []
    for batch in islice(data, MOST_BATCHES):
        first, *rest = batch if isinstance(batch, (list, tuple)) and batch else [batch]
        _check(first, example[0])
        target = rest[-1] if rest else None
        moved = target.to(device) if isinstance(target, Tensor) else target
        batches.append(((first.to(device),), moved))
    if not batches:
        raise LeanError("lighten: data holds no batch; give some real samples")
    return Samples(batches, True)


def _check(x: object, example: Tensor, what: str = "data") -> None:
    if not isinstance(x, Tensor):
        raise LeanError(f"lighten: data is batches of tensors, got {shortened(x)}")
    if not x.numel() or x.is_meta:
        got = "holds no values" if x.is_meta else f"is empty, {tuple(x.shape)}"
        raise LeanError(f"lighten: a batch of {what} {got}; give real samples")
    found, expected = tuple(x.shape[1:]), tuple(example.shape[1:])
    if x.ndim != example.ndim or found != expected:
        raise LeanError(
            f"lighten: data has samples of shape {found}, the example {expected}; give samples of "
            "the example's shape, or an example of theirs"
        )
    if x.dtype != example.dtype:
        raise LeanError(
            f"lighten: data is of {x.dtype}, the example of {example.dtype}; convert one of them"
        )
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        raise LeanError(f"lighten: {what} holds NaN or infinity; give finite samples")
