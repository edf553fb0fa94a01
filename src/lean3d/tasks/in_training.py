"""Forwards of modules that run otherwise while a network is trained.

The class of such a module gets a base in front of it, and its own class back at the end.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from lean3d.conversion.surgery.subclass import Mixed, mixed
from lean3d.conversion.to3d.merged.active import active, again
from lean3d.conversion.trace.tree import mapped
from lean3d.errors import RunError
from lean3d.ops.base import Conv3dLike

__all__ = ["Changed", "blocks_of", "full_precision_head_", "recompute_blocks_", "restore_"]

Context = AbstractContextManager[None]
# modules, and the classes that they had
Changed = list[tuple[nn.Module, type[nn.Module]]]


class Recomputed(Mixed):
    """A block that keeps its input alone, and computes the rest again in the backward pass."""

    def forward(self, *args: object, **kwargs: object) -> Any:
        own = super().forward  # type: ignore[misc]
        if not torch.is_grad_enabled():
            return own(*args, **kwargs)
        more: Any = kwargs | dict(use_reentrant=False, context_fn=partial(_contexts, self))
        return checkpoint(own, *args, **more)


class FullPrecision(Mixed):
    """A module that computes in single precision where autocast would not."""

    def forward(self, *args: object, **kwargs: object) -> Any:
        own = super().forward  # type: ignore[misc]
        weight: Any = getattr(self, "weight", None)
        kind = weight.device.type if isinstance(weight, Tensor) else "cpu"
        if not torch.is_autocast_enabled(kind):
            return own(*args, **kwargs)
        with torch.autocast(kind, enabled=False):
            args, kwargs = mapped((args, kwargs), _single)
            return own(*args, **kwargs)


def recompute_blocks_(model: nn.Module) -> Changed:
    """Let the blocks of a network keep their inputs alone for the backward pass, in place.

    Outputs, gradients and the statistics of batch norms stay what they were.

    Raises:
        RunError: the network has no blocks in a row.
    """
    blocks = blocks_of(model)
    if not blocks:
        raise RunError(
            f"checkpointing needs blocks of several layers in an nn.Sequential or nn.ModuleList, "
            f"and {type(model).__name__} has none; train without"
        )
    return [_change(block, Recomputed) for block in blocks.values()]


def full_precision_head_(model: nn.Module) -> Changed:
    """Compute the last layer with weights in single precision under autocast, in place."""
    layers = [module for module in model.modules() if _is_layer(module)]
    return [_change(layers[-1], FullPrecision)] if layers else []


def restore_(changed: Changed) -> None:
    """Give modules the classes that they had."""
    while changed:
        module, kind = changed.pop()
        module.__class__ = kind


def blocks_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks by path: entries of lists with two layers or more, the innermost ones."""
    found: dict[str, nn.Module] = {}
    _collect("", model, found)
    return found


def _collect(path: str, module: nn.Module, found: dict[str, nn.Module]) -> bool:
    """Collect the blocks within a module, and return whether there are any."""
    if isinstance(module, Conv3dLike):
        return False
    some = False
    for name, child in module.named_children():
        own = f"{path}.{name}" if path else name
        within = _collect(own, child, found)
        listed = isinstance(module, nn.Sequential | nn.ModuleList)
        if listed and not within and _num_layers(child) > 1 and _runs(child):
            found[own], within = child, True
        some |= within
    return some


def _runs(module: nn.Module) -> bool:
    return not isinstance(module, Conv3dLike | nn.ModuleList | nn.ModuleDict)


def _num_layers(module: nn.Module) -> int:
    if _is_layer(module):
        return 1
    return sum(_num_layers(child) for child in module.children())


def _is_layer(module: nn.Module) -> bool:
    weight: Any = vars(module).get("_parameters", {}).get("weight")
    return isinstance(module, Conv3dLike) or (weight is not None and weight.ndim > 1)


def _change(module: nn.Module, base: type[Mixed]) -> tuple[nn.Module, type[nn.Module]]:
    before = type(module)
    module.__class__ = mixed(base, before)
    return module, before


def _contexts(block: Any) -> tuple[Context, Context]:
    return nullcontext(), _repeat(block, active())


@contextmanager
def _repeat(block: nn.Module, around: tuple[Any, ...]) -> Iterator[None]:
    """Run a forward for the second time: as deep in the network, and without a second count."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm)]
    before = [(norm.momentum, _clone(norm.num_batches_tracked)) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # the statistics stay
    try:
        with again(around):
            yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)


def _clone(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.clone()


def _single(x: Any) -> Any:
    return x.float() if x.is_floating_point() else x
