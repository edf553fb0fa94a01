"""nn.Conv3d with the computation of the operators here.

Differs from nn.Conv3d: one small sample on a CPU stays with oneDNN, see `lean3d.ops.fast`.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import torch
from torch import Tensor, nn

from lean3d.ops.kernel import KernelConv3d
from lean3d.shape import Triple

__all__ = ["DenseConv3d"]


class DenseConv3d(KernelConv3d):
    """The arguments, parameters and outputs of nn.Conv3d.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W')
    Cost: C * C' * k * k * k / groups multiply-adds per output voxel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Triple,
        stride: int | Triple = 1,
        padding: str | int | Triple = 0,
        dilation: int | Triple = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        size = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, *size, device=device, dtype=dtype)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as nn.Conv3d."""
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.reset_bias(self.weight[0].numel())

    def kernel(self, weight: Tensor) -> Tensor:
        return weight
