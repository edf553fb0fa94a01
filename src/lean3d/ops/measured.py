"""What a choice between kernels is measured on: a call as it is made, with its gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["autocast", "layout", "step", "wants_gradients"]

Given = Sequence[Tensor | None]


def wants_gradients(given: Given) -> tuple[bool, ...]:
    """Return which of the tensors will get a gradient."""
    enabled = torch.is_grad_enabled()
    return tuple(enabled and x is not None and x.requires_grad for x in given)


def step(way: Callable[..., Tensor], given: Given) -> tuple[Tensor, ...]:
    """Run a call, and its backward pass if it is to have one."""
    wanting = wants_gradients(given)
    own = [
        None if x is None else x.detach().requires_grad_(wants)
        for x, wants in zip(given, wanting, strict=True)
    ]
    y = way(*own)
    wanted = [x for x in own if x is not None and x.requires_grad]
    return (y, *torch.autograd.grad(y, wanted, torch.ones_like(y))) if wanted else (y,)


def autocast(*given: Tensor | None) -> Any:
    """Return the tensors in the precision in which torch.autocast computes, if it is on."""
    first = next(x for x in given if x is not None)
    if not torch.is_autocast_enabled(first.device.type):
        return given
    dtype = torch.get_autocast_dtype(first.device.type)
    return tuple(None if x is None else x.to(dtype) for x in given)


def layout(x: Tensor) -> bool:
    """Whether the channels of a voxel are contiguous."""
    return x.is_contiguous(memory_format=torch.channels_last_3d)
