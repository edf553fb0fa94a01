"""The cost of one aten call in each way of counting. One multiply-add is one operation.

Sources: torch.utils.flop_counter for the multiply-adds; CSN (Tran et al., ICCV 2019), Sec. 3.1, for
`csn`; the early thop that D3D's baselines were counted with for `thop`.

- macs: every convolution, linear layer, recurrent step and matrix product that runs.
- csn: convolutions and linear layers alone.
- thop: also the bias of a convolution (1 per output), batch norm (2 per input), ReLU (1 per input),
  max pooling (kernel - 1 per output), average pooling (kernel per output), and a linear layer as
  (2 * inputs - 1) per output.
- thop_fc_macs: thop with a linear layer as `inputs` per output, as D3D counts its own heads.
"""

from collections.abc import Callable
from math import prod
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lean3d.errors import LeanError

__all__ = ["Profile", "rules"]

Profile = Literal["macs", "csn", "thop", "thop_fc_macs"]
Rule = Callable[..., int]

aten = torch.ops.aten
CONVOLUTION = (aten.convolution, aten._convolution)
LINEAR = (aten.mm, aten.addmm, aten.mv, aten.addmv)
# operators missing from torch's table; addmv has its bias first
VECTOR: dict[Any, Rule] = {
    aten.mv: lambda matrix, vector, **_: matrix.numel(),
    aten.addmv: lambda bias, matrix, vector, **_: matrix.numel(),
    aten.dot: lambda vector, other, **_: vector.numel(),
}


def rules(profile: Profile) -> dict[Any, Rule]:
    """The cost of each kind of call, by aten operator; a call that is not listed is free."""
    if profile not in get_args(Profile):
        known = ", ".join(get_args(Profile))
        raise LeanError(f"count has no profile {profile!r}; choose one of {known}")
    # imported here: it would be a quarter of the import time of lean3d
    from torch.utils.flop_counter import flop_registry

    every = {op: _multiply_adds(flops) for op, flops in flop_registry.items()} | VECTOR
    if profile == "macs":
        return every
    layers = {op: every[op] for op in CONVOLUTION + LINEAR}
    if profile == "csn":
        return layers
    linear = {op: _multiplies_and_adds(every[op]) for op in LINEAR} if profile == "thop" else {}
    return layers | {op: _with_bias(every[op]) for op in CONVOLUTION} | linear | POINTWISE


def _multiply_adds(flops: Rule) -> Rule:
    return lambda *args, out_val, **kwargs: flops(*args, out_val=out_val, **kwargs) // 2


def _with_bias(macs: Rule) -> Rule:
    def rule(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: object, out_val: Tensor) -> int:
        extra = 0 if bias is None else out_val.numel()
        return macs(x, weight, bias, *rest, out_val=out_val) + extra

    return rule


def _multiplies_and_adds(macs: Rule) -> Rule:
    return lambda *args, out_val, **kwargs: (
        2 * macs(*args, out_val=out_val, **kwargs) - out_val.numel()
    )


def _batch_norm(x: Tensor, *_: object, **__: object) -> int:
    return 2 * x.numel()


def _each_input(x: Tensor, *_: object, **__: object) -> int:
    return x.numel()


def _max_pool(x: Tensor, kernel: list[int], *_: object, out_val: Any, **__: object) -> int:
    pooled = out_val[0] if isinstance(out_val, tuple) else out_val
    return (prod(kernel) - 1) * pooled.numel()


def _average_pool(x: Tensor, kernel: list[int], *_: object, out_val: Tensor, **__: object) -> int:
    return prod(kernel) * out_val.numel()


def _mean(x: Tensor, axes: list[int] | None = None, *_: object, **__: object) -> int:
    """AdaptiveAvgPool(1) becomes a mean over every axis after the channels."""
    pools = {axis % x.ndim for axis in axes or ()} == set(range(2, x.ndim))
    return x.numel() if pools and x.ndim > 2 else 0


POINTWISE: dict[Any, Rule] = {
    aten.native_batch_norm: _batch_norm,
    aten._native_batch_norm_legit: _batch_norm,
    aten._native_batch_norm_legit_no_training: _batch_norm,
    aten.relu: _each_input,
    aten.relu_: _each_input,
    aten.hardtanh: _each_input,
    aten.hardtanh_: _each_input,
    aten.leaky_relu: _each_input,
    aten.leaky_relu_: _each_input,
    aten.max_pool2d_with_indices: _max_pool,
    aten.max_pool3d_with_indices: _max_pool,
    aten.avg_pool2d: _average_pool,
    aten.avg_pool3d: _average_pool,
    aten._adaptive_avg_pool2d: _each_input,
    aten._adaptive_avg_pool3d: _each_input,
    aten.mean: _mean,
}
