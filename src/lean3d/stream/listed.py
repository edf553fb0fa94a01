"""Functions that do not mix frames, for networks that wait; any other is refused.

Axes: B batch, C channels, T time, H height, W width.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["JOINS", "SAME_FRAMES", "keeps_frames"]

# (x, ...) -> the same axes; of several tensors in, the frames of all must be the same
SAME_FRAMES = {
    F.relu,
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
    F.relu6,
    F.hardtanh,
    F.leaky_relu,
    F.elu,
    F.selu,
    F.gelu,
    F.silu,
    F.mish,
    F.hardswish,
    F.hardsigmoid,
    F.softplus,
    F.logsigmoid,
    F.sigmoid,
    F.tanh,
    F.prelu,
    torch.prelu,
    torch.sigmoid,
    Tensor.sigmoid,
    torch.tanh,
    Tensor.tanh,
    torch.clamp,
    Tensor.clamp,
    Tensor.clamp_,
    torch.abs,
    Tensor.abs,
    torch.neg,
    Tensor.neg,
    Tensor.clone,
    Tensor.contiguous,
    Tensor.detach,
    Tensor.float,
    Tensor.half,
    Tensor.bfloat16,
    Tensor.to,
    torch.channel_shuffle,
    torch.native_channel_shuffle,
    F.channel_shuffle,
}
# several maps in, one out
JOINS = {
    torch.add,
    Tensor.add,
    Tensor.add_,
    Tensor.__add__,
    Tensor.__iadd__,
    Tensor.__radd__,
    torch.sub,
    Tensor.sub,
    Tensor.sub_,
    Tensor.__sub__,
    Tensor.__isub__,
    Tensor.__rsub__,
    torch.mul,
    Tensor.mul,
    Tensor.mul_,
    Tensor.__mul__,
    Tensor.__imul__,
    Tensor.__rmul__,
    torch.div,
    Tensor.div,
    Tensor.div_,
    Tensor.__truediv__,
    Tensor.__itruediv__,
    torch.maximum,
    torch.minimum,
    operator.add,
    operator.mul,
}


def argument(function_args: tuple[Any, ...], kwargs: dict[str, Any], at: int, name: str) -> Any:
    """An argument given by place or by name; None if it is not."""
    return function_args[at] if len(function_args) > at else kwargs.get(name)


def _norm(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Batch norm by its running statistics."""
    return not argument(args, kwargs, 5, "training")


def _drop(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return argument(args, kwargs, 2, "training") is False


def _layer_norm(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return len(argument(args, kwargs, 1, "normalized_shape")) < 3


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return argument(args, kwargs, 2, "dim") in (1, 3, 4, -1, -2, -4)


# functions that keep frames apart only with some arguments
CONDITIONS: dict[Callable, Callable[[tuple[Any, ...], dict[str, Any]], bool]] = {
    F.batch_norm: _norm,
    F.dropout: _drop,
    F.dropout3d: _drop,
    F.layer_norm: _layer_norm,
    torch.chunk: _split,
    Tensor.chunk: _split,
    torch.split: _split,
    Tensor.split: _split,
}


def keeps_frames(function: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call treats every frame by itself and returns as many."""
    asked = CONDITIONS.get(function)
    return function in SAME_FRAMES if asked is None else asked(args, kwargs)
