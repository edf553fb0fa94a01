"""Convolutions of torch that are trained faster on a CPU: depthwise ones.

See `lean3d.ops.depthwise_gradients`; benchmarks/depthwise_gradients.py times a step of a network.
Tried and left out: 1x1x1 ones of channels-last maps as a matrix product; single layers took 0.13 to
0.74 of conv3d's time forward and backward, and the whole network no less.
"""

from torch import Tensor, nn

from lean3d.ops.base import Conv3dLike
from lean3d.ops.depthwise_gradients import DepthwiseOnCpu, gradients_pay

__all__ = ["DepthwiseConv3d", "ordinary_", "with_fast_gradients_"]


class DepthwiseConv3d(nn.Conv3d):
    """A depthwise nn.Conv3d whose gradients are convolutions where that is faster."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        sizes: tuple = (self.stride, self.padding, self.dilation)
        zeros = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        if zeros and gradients_pay(input, weight, *sizes):
            found: Tensor = DepthwiseOnCpu.apply(input, weight, bias, *sizes[1:])
            return found
        return super()._conv_forward(input, weight, bias)


def with_fast_gradients_(model: nn.Module) -> nn.Module:
    """Let the depthwise nn.Conv3d of a network compute their gradients as convolutions, in place.

    For training on a CPU; outputs, parameters and their names stay. `ordinary_` takes it back.
    """
    for module in model.modules():
        if type(module) is nn.Conv3d and 1 < module.groups == module.in_channels:
            module.__class__ = DepthwiseConv3d
    return model


def ordinary_(model: nn.Module) -> nn.Module:
    """Make the convolutions of `with_fast_gradients_` nn.Conv3d again, in place."""
    parts = {part for op in model.modules() if isinstance(op, Conv3dLike) for part in op.children()}
    for module in model.modules():
        if type(module) is DepthwiseConv3d and module not in parts:
            module.__class__ = nn.Conv3d  # type: ignore[assignment]
    return model
