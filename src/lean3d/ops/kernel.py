"""Operators with one kernel of their own, which count as instances of nn.Conv3d.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.ops.base import Conv3dLike

__all__ = ["KernelConv3d"]


class KernelConv3d(Conv3dLike, nn.Conv3d):  # type: ignore[misc]
    """An operator whose kernel is computed from its parameter `weight`, one row for each output.

    So initialisation, weight norm, spectral norm and pruning by isinstance(_, nn.Conv3d) and by the
    names `weight` and `bias` work as for nn.Conv3d, though `weight` may have fewer axes.
    """

    def make_bias(self, bias: bool, like: dict[str, Any]) -> None:
        self.bias = nn.Parameter(torch.empty(self.out_channels, **like)) if bias else None
        # nn.Conv3d keeps it for its own padding
        self._reversed_padding_repeated_twice = [n for pair in reversed(self.pads) for n in pair]

    def reset_bias(self, fan_in: int) -> None:
        """Return the bound of nn.Conv3d: 1 / sqrt(fan_in)."""
        if self.bias is not None:
            bound = 1 / math.sqrt(fan_in)
            nn.init.uniform_(self.bias, -bound, bound)

    @property
    def mixes_kernel(self) -> bool:
        """Whether every call makes its dense kernel, which `fold` makes once."""
        return False

    def compute(self, x_BCDHW: Tensor) -> Tensor:
        return self._conv_forward(x_BCDHW, self.weight, self.bias)

    def kernel(self, weight: Tensor) -> Tensor:
        """Return the kernel (C', C/groups, kd, kh, kw) that a weight gives."""
        raise NotImplementedError

    def dense_weight(self) -> Tensor:
        """The kernel (C', C/groups, k, k, k) of the nn.Conv3d this equals."""
        return self.kernel(self.weight)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.convolve(input, self.kernel(weight), bias)
