"""Copies of a model, and temporary changes to one."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lean3d.conversion.surgery.fx import copy_modes
from lean3d.errors import ConversionError
from lean3d.typed import shortened
from lean3d.weights import check_sizes_known

__all__ = ["duplicate", "for_a_while", "in_eval", "precise_copy", "without_memory"]


def duplicate(model: nn.Module, change: Callable[[Tensor], Tensor] | None = None) -> nn.Module:
    """Copy a model, with the tensors that it computed and keeps (pruning, deep supervision).

    Args:
        change: Makes the parameters and buffers of the copy from those of the model.
    """
    if not isinstance(model, nn.Module):
        raise ConversionError(f"an nn.Module is needed here, got {shortened(model)}")
    check_sizes_known(type(model).__name__, model, ConversionError)
    memo: dict[int, Any] = {}
    for value in tree_leaves([vars(module) for module in model.modules()]):
        if isinstance(value, Tensor) and not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    if change is not None:
        memo |= {id(p): nn.Parameter(change(p.detach()), False) for p in model.parameters()}
        memo |= {id(buffer): change(buffer.detach()) for buffer in model.buffers()}
    try:
        result = copy.deepcopy(model, memo)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConversionError(
            f"{type(model).__name__} cannot be copied, so it cannot be converted without "
            f"changing it: {error}"
        ) from error
    copy_modes(model, result)
    return result


def precise_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in eval mode and `dtype`, without the user's hooks, which may have side effects."""
    on_mps = any(tensor.device.type == "mps" for tensor in model.parameters())
    where: Any = dict(device="cpu") if on_mps and dtype == torch.float64 else {}

    def change(x: Tensor) -> Tensor:
        return x.to(**where, copy=True, dtype=dtype if x.is_floating_point() else x.dtype)

    result = duplicate(model, change)
    for module in result.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if not _belongs_to_torch(hook)]:
                del hooks[key]
    return result.eval()


def _belongs_to_torch(hook: object) -> bool:
    """Weight norm, spectral norm and pruning compute weights in hooks; these are kept."""
    owner = getattr(hook, "__module__", None) or type(hook).__module__
    return owner.startswith("torch.")


def without_memory(model: nn.Module) -> nn.Module:
    """Return a copy on the meta device, which has sizes without values and costs nothing to run."""
    return duplicate(model, lambda x: x.to("meta"))


@contextmanager
def in_eval(model: nn.Module) -> Iterator[None]:
    """Set eval mode, and restore the own mode of every module on exit."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def for_a_while(model: nn.Module) -> Iterator[None]:
    """Undo all changes to the modules on exit: classes, settings, parameters and hooks."""
    before = [(module, type(module), dict(vars(module))) for module in model.modules()]
    inside = [
        (value, dict(value))
        for _, _, settings in before
        for value in settings.values()
        if isinstance(value, dict)
    ]
    try:
        yield
    finally:
        for module, kind, settings in before:
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(settings)
        for held, items in inside:
            held.clear()
            held.update(items)
