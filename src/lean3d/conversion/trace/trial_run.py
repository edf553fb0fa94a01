"""Trial runs of a model: with values and a private random state, or with sizes alone.

On the meta device tensors have sizes and no values. There torch finds the sizes of some pointwise
functions by Python code that takes longer than a small image would; their output has the size
of the input.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lean3d.conversion.quiet import OwnRandomNumbers
from lean3d.conversion.surgery.fx import without_traces
from lean3d.conversion.trace.tree import mapped

__all__ = ["in_trial", "run_lightly", "trying"]

_LOCAL = threading.local()

aten = torch.ops.aten
NORMS = (aten.native_batch_norm, aten.native_group_norm, aten.native_layer_norm)
DECIDING = frozenset(["eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "where"])


@contextmanager
def trying() -> Iterator[None]:
    """Run models whose errors nobody reads."""
    outer, _LOCAL.trying = in_trial(), True
    try:
        yield
    finally:
        _LOCAL.trying = outer


def in_trial() -> bool:
    """Whether this thread runs a model whose errors nobody reads."""
    return getattr(_LOCAL, "trying", False)


def run_lightly(model: nn.Module, arguments: tuple[Any, ...], **keywords: Any) -> Any:
    """Return the model's output; on the meta device if the model is there.

    In training mode, as with dropout, it draws from private generators.
    """
    device = next((tensor.device for tensor in chain(model.parameters(), model.buffers())), None)
    moved = mapped(arguments, lambda x: x.to(device, copy=True) if device else x.clone())
    with trying(), _around(model, device), without_traces(model):
        return model(*moved, **keywords)


def _around(model: nn.Module, device: torch.device | None) -> AbstractContextManager[Any]:
    if device is not None and device.type == "meta":
        return SizesAlone()
    return OwnRandomNumbers() if model.training else nullcontext()


class SizesAlone(TorchDispatchMode):
    """Only for models on the meta device."""

    def __torch_dispatch__(
        self,
        function: torch._ops.OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kind = _kind(function)
        x = args[0] if args else None
        if not kind or not isinstance(x, Tensor) or kwargs:
            return function(*args, **(kwargs or {}))
        if kind == "norm":
            few = x.new_empty(x.shape[1:2])
            whole = function.overloadpacket is aten.native_layer_norm
            return x.new_empty(x.shape) if whole else torch.empty_like(x), few, few
        if kind == "in place":
            return x
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        shape = torch.broadcast_shapes(*(one.shape for one in tensors))
        like = next((one for one in tensors if one.shape == shape), None)
        return x.new_empty(shape) if like is None else torch.empty_like(like)


@cache
def _kind(function: torch._ops.OpOverload) -> str:
    name = function.overloadpacket.__name__
    if function.overloadpacket in NORMS:
        return "norm"
    if torch.Tag.pointwise not in function.tags or name in DECIDING or name.startswith("logical"):
        return ""
    return "in place" if function._schema.is_mutable else "pointwise"
