"""Copy a model with shapes and without values."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lean3d.errors import LeanError

__all__ = ["meta_copy", "meta_inputs"]


class _CopyOnMeta(TorchFunctionMode):
    """Make deepcopy create tensors on the meta device without reading their values."""

    def __torch_function__(self, function: Any, types: object, args: Any = (), kwargs: Any = None):
        if function is Tensor.__deepcopy__:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().to("meta"))
        if function is Tensor.clone:
            return args[0].to("meta")
        return function(*args, **(kwargs or {}))


def meta_copy(model: nn.Module) -> nn.Module:
    """Copy a model to the meta device in eval mode, keeping ties, without memory."""
    # torch.compile wraps the original model
    model = getattr(model, "_orig_mod", model)
    try:
        with _CopyOnMeta():
            return copy.deepcopy(model).eval()
    except Exception as error:
        name = type(model).__name__
        raise LeanError(
            f"count works on a copy of the model and {name} cannot be copied: {error}"
        ) from error


def meta_inputs(model: nn.Module, shapes: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    """Return inputs of these shapes in the model's own precision."""
    floats = (p.dtype for p in model.parameters() if p.dtype.is_floating_point)
    dtype = next(floats, torch.float32)
    return [torch.empty(shape, dtype=dtype, device="meta") for shape in shapes]
