"""A spatial convolution followed by a temporal one.

Papers: Tran et al., A Closer Look at Spatiotemporal Convolutions (R(2+1)D), arXiv:1711.11248,
Sec 3.5; STDCF compares with the rank-1 form (Sec 2.1.1).

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.limits import check_sizes
from lean3d.ops.base import Conv3dLike, along
from lean3d.ops.initial import LINEAR, RELU, scale_, scale_last_
from lean3d.shape import Triple
from lean3d.typed import check_arguments

__all__ = ["SpaceTimeConv3d", "matching_width"]


def matching_width(in_channels: int, out_channels: int, kernel: Triple) -> int:
    """Return channels between the two convolutions with which they have Conv3d's parameters."""
    time, height, width = kernel
    dense = time * height * width * in_channels * out_channels
    return max(dense // (height * width * in_channels + time * out_channels), 1)


class SpaceTimeConv3d(Conv3dLike):
    """Conv3d replaced by a (1, k, k) and a (k, 1, 1) convolution.

    Takes the arguments of nn.Conv3d in the same order, then:

    Args:
        form: "2plus1d" has batch norm and ReLU in between and as many parameters as Conv3d;
            "rank1" has neither, C' channels in between, and is linear.
        mid_channels: Channels in between; None for the form's default.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.Conv3d would give.
    Cost: m*C*k*k per voxel after the spatial stride plus m*C'*k per output voxel, divided by
        groups; m the channels in between.

    Raises:
        LeanError: `form` is neither "2plus1d" nor "rank1".
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
        form: Literal["2plus1d", "rank1"] = "2plus1d",
        mid_channels: int | None = None,
    ):
        size = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, *size, device=device, dtype=dtype)
        check_arguments(self, form=form, mid_channels=mid_channels)
        if form not in ("2plus1d", "rank1"):
            raise LeanError(f"SpaceTimeConv3d: form is '2plus1d' or 'rank1', got {form!r}")
        self.form = form
        self.mid_channels = self._width(mid_channels)
        like = dict(device=device, dtype=dtype)
        plane, line = along(self.kernel_size, 0, 1)
        step, jump = along(self.stride, 0, 1)
        wide, spread = along(self.dilation, 0, 1)
        pad = line_pad = self.padding
        if not isinstance(self.padding, str):
            pad, line_pad = along(self.padding, 0, 0)
        inner: dict[str, Any] = dict(groups=groups, padding_mode=padding_mode, **like)
        mid = self.mid_channels
        check_sizes(
            "SpaceTimeConv3d's kernels", (in_channels + out_channels, mid, *self.kernel_size)
        )
        self.spatial = nn.Conv3d(in_channels, mid, plane, step, pad, wide, bias=False, **inner)
        between = [nn.BatchNorm3d(mid, **like), nn.ReLU()]
        self.between = nn.Sequential(*between) if form == "2plus1d" else nn.Identity()
        inner["bias"] = bias
        self.temporal = nn.Conv3d(mid, out_channels, line, jump, line_pad, spread, **inner)
        self._scale()

    def _width(self, mid_channels: int | None) -> int:
        if mid_channels is None and self.form == "rank1":
            return self.out_channels
        if mid_channels is None:
            width = matching_width(self.in_channels, self.out_channels, self.kernel_size)
            return max(width // self.groups * self.groups, self.groups)
        if mid_channels < 1 or mid_channels % self.groups:
            raise LeanError(
                f"SpaceTimeConv3d: mid_channels must be a positive multiple of groups="
                f"{self.groups}, got {mid_channels}"
            )
        return mid_channels

    @property
    def bias(self) -> Tensor | None:
        """The bias of the temporal convolution, which is that of the operator."""
        return self.temporal.bias

    def reset_parameters(self) -> None:
        """Initialise for outputs of the variance of nn.Conv3d's; batch norm as nn.BatchNorm3d."""
        for module in self.modules():
            if isinstance(module, (nn.Conv3d, nn.BatchNorm3d)):
                module.reset_parameters()
        self._scale()

    def _scale(self) -> None:
        scale_(self.spatial, LINEAR)
        scale_last_(self.temporal, self, RELU / LINEAR if self.form == "2plus1d" else 1.0)

    def dense_weight(self) -> Tensor:
        """The kernel (C', C/groups, k, k, k) this equals; only the rank-1 form has one.

        Raises:
            LeanError: the form is "2plus1d".
        """
        if self.form != "rank1":
            raise LeanError(f"SpaceTimeConv3d is one kernel only as 'rank1', got {self.form!r}")
        time = self.temporal.weight.unflatten(0, (self.groups, -1))
        space = self.spatial.weight.unflatten(0, (self.groups, -1))
        return torch.einsum("gomtij,gmcskl->goctkl", time, space).flatten(0, 1)

    def compute(self, x_BCDHW: Tensor) -> Tensor:
        return self.temporal(self.between(self.spatial(x_BCDHW)))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, form={self.form!r}, mid_channels={self.mid_channels}"
