"""Sums over the processes of a run, so that a batch means the samples of all of them."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lean3d.processes.places import place

__all__ = ["pooled", "pooled_mean", "total"]


class _Sum(torch.autograd.Function):
    """The sum over processes. Each gets the gradients that all have of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad


def pooled(x: Tensor) -> Tensor:
    """Return the sum over all processes in a step that learns, and `x` itself without gradients.

    So a loss of pooled sums is that of one batch with the samples of all. In validation, processes
    have batches of their own, in different numbers, and their losses do not meet.
    """
    if place().size == 1 or not torch.is_grad_enabled():
        return x
    summed: Tensor = _Sum.apply(x)
    return summed


def pooled_mean(sum_: Tensor, count: Tensor) -> Tensor:
    """Return a sum over a count, of this process's samples, for a loss that processes average.

    Their average is the sum of all over the count of all.
    """
    if place().size == 1 or not torch.is_grad_enabled():
        return sum_ / count
    return place().size * sum_ / pooled(count.detach())


def total(x: Tensor) -> Tensor:
    """Return the sum over all processes, without gradients."""
    if place().size == 1:
        return x
    x = x.detach().clone()
    dist.all_reduce(x)
    return x
