"""What the convolutions of a network get and give on real samples, and how the loss depends on it.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.tree import copies
from lean3d.errors import LeanError
from lean3d.streaming.probe import one_line
from lean3d.typed import shortened

__all__ = ["Loss", "Seen", "inputs_of", "look"]

# of an output of the network and the target of the batch
Loss = Callable[[Any, Any], Tensor]
PROBES = 4


@dataclass
class Seen:
    """One convolution on some samples.

    Args:
        given: (B, C, D, H, W), its input.
        wanted: (B, C', D', H', W'), its output.
        slopes: Gradients of the loss of each sample, or of random projections of the network's
            output, by the output of the convolution; one or several of its shape.
    """

    given: Tensor
    wanted: Tensor
    slopes: list[Tensor]


@contextmanager
def _hooks(model: nn.Module, paths: Iterable[str], make: Callable[[str], Any]) -> Any:
    handles = [model.get_submodule(p).register_forward_hook(make(p)) for p in paths]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def look(
    model: nn.Module,
    batch: tuple[Tensor, ...],
    paths: Sequence[str],
    target: Any = None,
    loss: Loss | None = None,
) -> dict[str, Seen]:
    """Run the network on a batch, and keep what each convolution got and gave.

    Args:
        loss: Mean over the batch; without it the slopes are those of random projections of the
            outputs, whose mean square is the diagonal of the Gauss-Newton matrix.
    """
    seen: dict[str, Seen] = {}

    def keep(path: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            seen[path] = Seen(given[0].detach().clone(), output.detach().clone(), [])
            if not output.requires_grad:
                raise LeanError(
                    f"lighten: {path} has no gradient: the network runs it under torch.no_grad()"
                )
            # the next module may write into it
            output.register_hook(lambda slope: seen[path].slopes.append(slope.detach()))

        return hook

    with torch.enable_grad(), _frozen(model), _hooks(model, paths, keep):
        given = [x.detach().requires_grad_().clone() if x.is_floating_point() else x for x in batch]
        found = model(*given)
        if loss is not None:
            (_lost(loss, found, target) * len(batch[0])).backward()
            return seen
        values = [y for y in tensors(found) if y.requires_grad]
        if not values:
            raise LeanError(
                f"lighten: no output of {type(model).__name__} has a gradient; give it without "
                "argmax, rounding or detach() at its end"
            )
        generator = torch.Generator(values[0].device).manual_seed(0)
        # so that mean squares are shares of the variance of a sample's outputs
        centred = [(y - y.mean()).detach() for y in values]
        scale = sum(float(y.square().sum()) for y in centred) / len(batch[0])
        for probe in range(PROBES):
            signs = [_signs(y, generator) / max(scale, 1e-30) ** 0.5 for y in values]
            torch.autograd.backward(values, signs, retain_graph=probe < PROBES - 1)
    return seen


def _lost(loss: Loss, found: Any, target: Any) -> Tensor:
    try:
        value: Any = loss(found, target)
    except Exception as error:  # it is the user's
        kind = type(error).__name__
        raise LeanError(f"lighten: loss= fails: {kind}: {one_line(error)}") from error
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise LeanError(
            "lighten: loss= gives one number with a gradient, the mean over the batch, got "
            f"{shortened(value)}"
        )
    return value.sum()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Spend nothing on gradients of weights."""
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(2, like.shape, generator=generator, device=like.device)
    return drawn.to(like.dtype) * 2 - 1


class _Stop(Exception):  # noqa: N818
    """The input is known."""


@torch.no_grad()
def inputs_of(model: nn.Module, batch: tuple[Tensor, ...], path: str) -> Tensor:
    """Return the input of a module; what comes after it is not run."""
    kept: list[Tensor] = []

    def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        kept.append(given[0].clone())
        raise _Stop

    handle = model.get_submodule(path).register_forward_pre_hook(hook)
    try:
        model(*copies(batch))
    except _Stop:
        return kept[0]
    finally:
        handle.remove()
    raise AssertionError(path)
