"""Convolutions whose kernel is mixed for every sample, as timm's CondConv2d.

Its forward moves samples into channel groups, where a conversion could not distinguish the
outputs of different samples. Here every sample is convolved by itself.

Paper: Yang et al., CondConv, arXiv:1904.04971

Axes: B batch, C channels, D depth, H height, W width; E experts.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from lean3d.ops.leaf import Leaf
from lean3d.ops.padding import pad_or_crop
from lean3d.ops.views import LearntViews
from lean3d.shape import Triple, check_axes, same_padding

__all__ = ["RoutedConv3d"]


class Expands(Protocol):
    """What a method of conversion does to a kernel that is computed at each call."""

    @property
    def depth_padding(self) -> Literal["zeros", "replicate"]: ...

    def weights(self, module: nn.Module, weight: Tensor, owner: nn.Module) -> dict[str, Tensor]: ...


NONE = (0, 0)


class RoutedConv3d(LearntViews, Leaf):
    """A convolution whose kernel is a mixture of experts' 2D kernels, different for every sample.

    Args:
        operator: The 3D form of the convolution; it is given the mixed kernel at each call.
        how: The conversion, which expands a mixed kernel to 3D.
        kernel: Shape of one 2D kernel.
        same: (kernel, stride, dilation) along D, H, W for padding made for the size of the volume;
            None where the operator pads.

    Shape: (B, C, D, H, W) and (B, E) -> (B, C', D', H', W').
    Cost: E * C * C' * k * k / groups multiply-adds per sample to mix, then those of the operator.
    """

    operator: nn.Module
    weight: Tensor
    # in a self-check, the axis along which the volume is constant: 0 depth, 1 height, 2 width
    constant_axis: int | None = None

    def __init__(
        self,
        operator: nn.Module,
        how: Expands,
        kernel: tuple[int, ...],
        same: tuple[Triple, Triple, Triple] | None,
    ):
        super().__init__()
        vars(self)["operator"] = operator  # its parameters are not registered in this module
        self.how, self.kernel, self.same = how, kernel, same

    def forward(self, x_BCDHW: Tensor, routing_BE: Tensor) -> Tensor:
        check_axes(x_BCDHW, "B C D H W", self)
        kernels, own = routing_BE @ self.weight, self._parameters.get("bias")
        biases = [None] * len(kernels) if own is None else routing_BE @ own
        each = zip(self._padded(x_BCDHW).split(1), kernels, biases, strict=True)
        return torch.cat([self._convolved(*sample) for sample in each])

    def _convolved(self, x_1CDHW: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        weights = self.how.weights(self.operator, kernel.view(self.kernel), self)
        weights |= {} if bias is None else dict(bias=bias)
        if torch.compiler.is_compiling():
            return torch.func.functional_call(self.operator, weights, (x_1CDHW,))
        return _with(self.operator, weights)(x_1CDHW)

    def _padded(self, x_BCDHW: Tensor) -> Tensor:
        modes: list[str] = [self.how.depth_padding, "zeros", "zeros"]
        if self.constant_axis is not None:
            modes[self.constant_axis] = "replicate"
        for axis, window in enumerate(zip(*self.same, strict=True) if self.same else ()):
            pads = [NONE, NONE, NONE]
            pads[axis] = same_padding(x_BCDHW.shape[2 + axis], *window)
            x_BCDHW = pad_or_crop(x_BCDHW, (pads[0], pads[1], pads[2]), modes[axis])
        return x_BCDHW

    def extra_repr(self) -> str:
        return f"{self.operator}"


def _with(operator: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """Return a new module with other weights: the operator is shared and must not be changed."""
    other = object.__new__(type(operator))
    vars(other).update(vars(operator), _parameters={**operator._parameters, **weights})
    return other
