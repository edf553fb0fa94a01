"""Channel interactions and local interactions in separate convolutions.

Paper: Tran et al., Video Classification with Channel-Separated Convolutional Networks (CSN),
arXiv:1904.02811, Sec 3.2 and 3.4
Differs from the paper: there is nothing between ip's two convolutions, so that it is one linear
operator; Figure 2 has batch norm and ReLU there, the authors' code batch norm (models/csn.py).

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.ops.base import Conv3dLike
from lean3d.ops.fast_gradients import DepthwiseConv3d
from lean3d.ops.initial import LINEAR, scale_, scale_last_
from lean3d.shape import Triple
from lean3d.typed import check_arguments

__all__ = ["ChannelSeparatedConv3d"]


class ChannelSeparatedConv3d(Conv3dLike):
    """Conv3d replaced by a depthwise one, after a 1x1x1 one ("ip") or alone ("ir").

    Takes the arguments of nn.Conv3d in the same order; `groups` are those of the 1x1x1
    convolution, so "ir" has none. Then:

    Args:
        mode: "ip" preserves channel interactions by the 1x1x1 convolution, "ir" reduces them; "ir"
            needs out_channels to be a multiple of in_channels.
        group_width: Channels per group of the k x k x k convolution; 1 is depthwise.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.Conv3d would give.
    Cost: g * C' * k * k * k multiply-adds per output voxel, g the group width; "ip" adds
        C * C' / groups per input voxel.
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
        mode: Literal["ip", "ir"] = "ip",
        group_width: int = 1,
    ):
        size = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, *size, device=device, dtype=dtype)
        check_arguments(self, mode=mode, group_width=group_width)
        self.mode, self.group_width = mode, group_width
        self._check_groups()
        like = dict(device=device, dtype=dtype)
        self.pointwise: nn.Module = nn.Identity()
        if mode == "ip":
            mix = dict(groups=groups, bias=False, **like)
            self.pointwise = nn.Conv3d(in_channels, out_channels, 1, **mix)
        mixed = out_channels if mode == "ip" else in_channels
        inner = dict(groups=mixed // group_width, bias=bias, padding_mode=padding_mode, **like)
        kind = DepthwiseConv3d if group_width == 1 else nn.Conv3d
        self.local = kind(
            mixed, out_channels, self.kernel_size, self.stride, self.padding, self.dilation, **inner
        )
        self._scale()

    def _check_groups(self) -> None:
        who, width = "ChannelSeparatedConv3d", self.group_width
        if self.mode not in ("ip", "ir"):
            raise LeanError(f"{who}: mode is 'ip' or 'ir', got {self.mode!r}")
        if self.mode == "ir" and self.groups != 1:
            raise LeanError(f"{who}: 'ir' has no 1x1x1 convolution to group, got {self.groups=}")
        if self.mode == "ir" and self.out_channels % self.in_channels:
            raise LeanError(
                f"{who}: 'ir' needs out_channels to be a multiple of in_channels, got "
                f"{self.in_channels} to {self.out_channels}; 'ip' takes any"
            )
        mixed = self.out_channels // self.groups if self.mode == "ip" else self.in_channels
        if width < 1 or mixed % width:
            raise LeanError(f"{who}: group_width must divide {mixed} channels, got {width}")

    @property
    def bias(self) -> Tensor | None:
        """The bias of the k x k x k convolution, which is that of the operator."""
        return self.local.bias

    def reset_parameters(self) -> None:
        """Initialise for outputs of the variance of nn.Conv3d's."""
        for module in (self.pointwise, self.local):
            if isinstance(module, nn.Conv3d):
                module.reset_parameters()
        self._scale()

    def _scale(self) -> None:
        if isinstance(self.pointwise, nn.Conv3d):
            scale_(self.pointwise, LINEAR)
        scale_last_(self.local, self)

    def dense_weight(self) -> Tensor:
        """The kernel (C', C/groups, k, k, k) of the nn.Conv3d this equals."""
        local = self.local.weight.unflatten(0, (self.local.groups, -1))
        if isinstance(self.pointwise, nn.Conv3d):
            mix = self.pointwise.weight.flatten(1).unflatten(0, (self.local.groups, -1))
            return torch.einsum("goixyz,gic->gocxyz", local, mix).flatten(0, 1)
        kernel = local.new_zeros(self.out_channels, self.in_channels, *self.kernel_size)
        rows = self.out_channels // self.local.groups
        for group, block in enumerate(local):
            start = group * self.group_width
            kernel[group * rows : (group + 1) * rows, start : start + self.group_width] = block
        return kernel

    def compute(self, x_BCDHW: Tensor) -> Tensor:
        return self.local(self.pointwise(x_BCDHW))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}, group_width={self.group_width}"
