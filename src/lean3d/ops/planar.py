"""A 2D kernel on one plane of a volume (2.5D).

Paper: the 2.5D baseline of Yang et al. (ACS), arXiv:1911.10477, Sec 3.3

Axes: B batch, C channels, D depth, H height, W width.
"""

from torch import Tensor

from lean3d.errors import LeanError
from lean3d.ops.base import as_kernel
from lean3d.ops.views import PlaneConv3d, embed
from lean3d.shape import Triple
from lean3d.typed import check_arguments

__all__ = ["PlanarConv3d"]


class PlanarConv3d(PlaneConv3d):
    """Conv3d without extent along one axis: (1,k,k), (k,1,k) or (k,k,1).

    Takes the arguments of nn.Conv3d in the same order; the kernel is centred in `kernel_size`. A 2D
    checkpoint of nn.Conv2d loads unchanged. Then:

    Args:
        axis: The axis the kernel does not extend along: 0 depth, 1 height, 2 width.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.Conv3d would give.
    Cost: C * C' * k * k / groups multiply-adds per output voxel.

    Raises:
        LeanError: `axis` is not 0, 1 or 2.
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
        *,
        axis: int = 0,
    ):
        size = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, *size, device=device, dtype=dtype)
        check_arguments(self, axis=axis)
        if axis not in (0, 1, 2):
            raise LeanError(f"PlanarConv3d: axis is 0 depth, 1 height or 2 width, got {axis!r}")
        self.axis = axis
        self.plane = ((1, 2), (0, 2), (0, 1))[axis]
        self.make_weight(device, dtype)
        self.reset_parameters()

    def kernel(self, weight: Tensor) -> Tensor:
        return as_kernel(weight, self.axis)

    def dense_weight(self) -> Tensor:
        """The kernel (C', C/groups, k, k, k) of the nn.Conv3d this equals."""
        return embed(self.kernel(self.weight), self.kernel_size)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, axis={self.axis}"
