"""Initial weights with which an operator of several layers gives outputs as large as nn.Conv3d's.

nn.Conv3d draws weights of variance 1 / (3 fan_in): inputs of mean square 1 give outputs of 1 / 3.
Layers one after the other would each lose as much; here all but the last keep the mean square.

Paper: He et al., Delving Deep into Rectifiers, arXiv:1502.01852, Sec 2.2
"""

import math

import torch
from torch import nn

from lean3d.ops.base import Conv3dLike

__all__ = ["LINEAR", "RELU", "scale_", "scale_last_"]

# times the variance of nn.Conv3d, a layer keeps the mean square of what is symmetric about zero,
# and of what a ReLU has cut in half
LINEAR, RELU = 3.0, 6.0


@torch.no_grad()
def scale_(layer: nn.Module, variance: float) -> None:
    """Multiply the variance of the weights that nn.Conv3d has drawn."""
    assert isinstance(layer.weight, torch.Tensor)
    layer.weight.mul_(math.sqrt(variance))


@torch.no_grad()
def scale_last_(layer: nn.Conv3d, owner: Conv3dLike, variance: float = 1.0) -> None:
    """The same; the bias gets the bounds that it has in the nn.Conv3d of the owner's arguments."""
    scale_(layer, variance)
    if layer.bias is not None:
        fan_in = owner.in_channels // owner.groups * math.prod(owner.kernel_size)
        layer.bias.mul_(math.sqrt(layer.weight[0].numel() / fan_in))
