"""The average, or a learned mixture, of a 2D kernel's three views.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Sec 3.2
Differs from the paper: Soft-ACS starts from equal weights (the published code starts at random);
the three kernels are summed before one convolution, which costs the same and runs once.

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections import Counter
from itertools import product

import torch
from torch import Tensor, nn

from lean3d.ops.initial import scale_
from lean3d.ops.views import LearntViews, ViewsConv3d
from lean3d.shape import Triple

__all__ = ["MeanACSConv3d", "SoftACSConv3d"]


def undo_mean_(operator: ViewsConv3d) -> None:
    """Make up for what the mean of the three views loses of nn.Conv3d's variance."""
    if operator.weight.is_meta:
        return
    height, width = operator.kernel_size[1:]
    squares = 0
    for row, column in product(range(height), range(width)):
        y, x = row - (height - 1) // 2, column - (width - 1) // 2
        # a tap that two views share there counts twice
        taps = Counter([(0, y, x), (y, 0, x), (y, x, 0)])
        squares += sum(count**2 for count in taps.values())
    scale_(operator, 9 * height * width / squares)


class MeanACSConv3d(ViewsConv3d):
    """Conv3d whose kernel is the mean of one 2D kernel's axial, coronal and sagittal views.

    Takes the arguments of nn.Conv3d in the same order; kernel depth must equal height. A 2D
    checkpoint of nn.Conv2d loads unchanged.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.Conv3d would give.
    Cost: C * C' * k * k * k / groups multiply-adds per output voxel; the parameters of the
        2D kernel.
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
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise for outputs of the variance of nn.Conv3d's."""
        super().reset_parameters()
        undo_mean_(self)

    def kernel(self, weight: Tensor) -> Tensor:
        views = [self.view(weight, view) for view in range(3)]
        return (views[0] + views[1] + views[2]) / 3


class SoftACSConv3d(LearntViews, ViewsConv3d):  # type: ignore[misc]
    """Conv3d whose kernel is a softmax-weighted sum of one 2D kernel's three views, per output.

    Takes the arguments of nn.Conv3d in the same order; kernel depth must equal height. The weights
    of the views are the parameter `views` (C', 3), zero at first, so that it starts as MeanACS. A
    2D checkpoint of nn.Conv2d loads unchanged and does not change them.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.Conv3d would give.
    Cost: C * C' * k * k * k / groups multiply-adds per output voxel; C' * (C * k * k + 3)
        parameters and the bias (Table 2).
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
        self.views = nn.Parameter(torch.empty(out_channels, 3, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as MeanACSConv3d, with equal weights of the views."""
        super().reset_parameters()
        undo_mean_(self)
        nn.init.zeros_(self.views)

    def kernel(self, weight: Tensor) -> Tensor:
        shares = self.views.softmax(dim=1).to(weight.dtype).view(-1, 3, 1, 1, 1, 1)
        views = [self.view(weight, view) * shares[:, view] for view in range(3)]
        return views[0] + views[1] + views[2]
