"""A causal convolution, over a clip or frame by frame.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3
Differs from the paper: the padding before the first frame is an option, copies of it or zeros.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Literal

from torch import Tensor

from lean3d.errors import LeanError
from lean3d.limits import check_counts
from lean3d.ops.dense import DenseConv3d
from lean3d.ops.fast import conv3d
from lean3d.ops.memory import check_steps, past
from lean3d.ops.padding import pad_or_crop
from lean3d.shape import Triple
from lean3d.typed import check_arguments

__all__ = ["CausalConv3d"]


class CausalConv3d(DenseConv3d):
    """Conv3d with all its temporal padding before the first frame, none after the last.

    Takes the arguments of nn.Conv3d in the same order; `padding_mode` is that of height and
    width. The kernel's last tap is the present frame. `lean3d.stream` runs it frame by frame. Then:

    Args:
        past: Frames of padding before the first; by default as many as `padding` puts before and
            after. dilation * (k - 1) of them keep the number of frames.
        first: Padding before the first frame: "replicate" (copies of it) or "zeros".

    Shape: (B, C, T, H, W) -> (B, C', T', H', W'), the sizes nn.Conv3d would give.
    Cost: C * C' * k * k * k / groups multiply-adds per output voxel, in a clip and in a step.
    State: (B, C, past, H, W), the past inputs.

    Raises:
        ShapeError: the number of frames of a step is not a multiple of the stride.
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
        past: int | None = None,
        first: Literal["replicate", "zeros"] = "replicate",
    ):
        size = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, *size, device=device, dtype=dtype)
        check_arguments(self, past=past, first=first)
        if first not in ("replicate", "zeros"):
            raise LeanError(f"CausalConv3d: first is 'replicate' or 'zeros', got {first!r}")
        if past is not None and (past < 0 or self.pads[0] != (0, 0)):
            raise LeanError(
                f"CausalConv3d: past counts the frames in front in place of padding in time, got "
                f"{past=} and padding={padding!r}"
            )
        check_counts("CausalConv3d", low=0, past=past or 0)
        self.first = first
        self.past = sum(self.pads[0]) if past is None else past

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x_BCTHW = input
        extent = self.dilation[0] * (self.kernel_size[0] - 1) + 1
        check_steps(self, x_BCTHW, extent, self.stride[0], self.past)
        window = past(self, x_BCTHW, self.past, self.first)
        (top, bottom), (left, right) = self.pads[1:]
        if self.padding_mode == "zeros" and top == bottom and left == right:
            pad: Triple = (0, top, left)
        else:
            pad = (0, 0, 0)
            sides = ((0, 0), (top, bottom), (left, right))
            window = pad_or_crop(window, sides, self.padding_mode)
        size = (self.stride, pad, self.dilation, self.groups)
        return conv3d(window, weight, bias, *size)

    def extra_repr(self) -> str:
        text = f"{super().extra_repr()}, first={self.first!r}"
        return text if self.past == sum(self.pads[0]) else f"{text}, past={self.past}"
