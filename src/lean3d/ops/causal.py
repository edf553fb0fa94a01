"""A convolution that looks at the past only, over a clip or frame by frame.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3
Differs from the paper: the frames before the first are a stated choice, copies of it or zeros.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.ops.base import Conv3dLike, pad_or_crop
from lean3d.shape import Triple, check_axes

__all__ = ["CausalConv3d"]


class CausalConv3d(Conv3dLike):
    """Conv3d with all its temporal padding before the first frame, none after the last.

    Takes the arguments of nn.Conv3d in the same order; `padding_mode` is that of height and
    width. With padding="same", or dilation * (k - 1) / 2 in time, it keeps the number of frames
    and can `step`. Then:

    Args:
        first: What stands before the first frame: "replicate" (copies of it) or "zeros".

    Shape: (B, C, T, H, W) -> (B, C', T', H', W'), the sizes nn.Conv3d would give.
    Cost: C * C' * k * k * k / groups multiply-adds per output voxel, in a clip and in a step.
    State: (B, C, dilation * (k - 1), H, W), the past inputs.
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
        first: Literal["replicate", "zeros"] = "replicate",
    ):
        size = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, *size, device=device, dtype=dtype)
        if first not in ("replicate", "zeros"):
            raise ValueError(f"CausalConv3d: first is 'replicate' or 'zeros', got {first!r}")
        self.first = first
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The initialisation of nn.Conv3d."""
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.reset_bias(self.weight[0].numel())

    @property
    def past(self) -> int:
        """Frames the kernel sees besides the present one."""
        return self.dilation[0] * (self.kernel_size[0] - 1)

    def dense_weight(self) -> Tensor:
        """The kernel (C', C/groups, k, k, k); its last tap is the present frame."""
        return self.weight

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        self.check(x_BCTHW)
        return self._convolve(self._with_past(x_BCTHW, sum(self.pads[0])))

    def _with_past(self, x_BCTHW: Tensor, frames: int) -> Tensor:
        mode = "replicate" if self.first == "replicate" else "constant"
        return F.pad(x_BCTHW, (0, 0, 0, 0, frames, 0), mode=mode) if frames else x_BCTHW

    def _convolve(self, x_BCTHW: Tensor) -> Tensor:
        """Convolve frames that already have their past in front."""
        (top, bottom), (left, right) = self.pads[1:]
        if self.padding_mode == "zeros" and top == bottom and left == right:
            pad: Triple = (0, top, left)
        else:
            pad = (0, 0, 0)
            sides = ((0, 0), (top, bottom), (left, right))
            x_BCTHW = pad_or_crop(x_BCTHW, sides, self.padding_mode)
        size = (self.stride, pad, self.dilation, self.groups)
        return F.conv3d(x_BCTHW, self.weight, self.bias, *size)

    def step(self, x_BCHW: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One frame in, one frame out, and the state to hand to the next call.

        Raises:
            ValueError: the temporal stride is not 1 or the padding does not keep the frames.
        """
        check_axes(x_BCHW, f"B C={self.in_channels} H W", self)
        if self.stride[0] != 1 or sum(self.pads[0]) != self.past:
            raise ValueError(
                f"CausalConv3d steps with stride 1 and {self.past} padded frames in time (padding="
                f"'same'), got stride {self.stride[0]} and {sum(self.pads[0])} frames"
            )
        frame = x_BCHW.unsqueeze(2)
        if state is None:
            window = self._with_past(frame, self.past)
        else:
            window = torch.cat([state, frame], dim=2)
        return self._convolve(window).squeeze(2), window[:, :, 1:]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, first={self.first!r}"
