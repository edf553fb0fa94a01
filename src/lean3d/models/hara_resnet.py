"""The 3D ResNets that D3D and many others compare with.

Paper: Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?,
arXiv:1711.09577, Table 1; D3D, arXiv:2009.14639, Tables 4 to 7; their form for volumes, Chen et
al., Med3D, arXiv:1904.00625, Sec 3.2
Differs from the paper: the mean over time and space accepts any size.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.models.blocks import (
    WIDTHS,
    Conv,
    Residual,
    VideoResNet,
    Widen,
    normed,
    projection,
    stages,
)
from lean3d.models.registry import register_models
from lean3d.shape import Triple, triple

__all__ = ["DEPTHS", "ZeroPadding", "hara_resnet", "zero_padding"]

# layers -> blocks of each stage, and how far a block widens its output
DEPTHS = {
    10: ((1, 1, 1, 1), 1),
    18: ((2, 2, 2, 2), 1),
    34: ((3, 4, 6, 3), 1),
    50: ((3, 4, 6, 3), 4),
    101: ((3, 4, 23, 3), 4),
    152: ((3, 8, 36, 3), 4),
    200: ((3, 24, 36, 3), 4),
}


class ZeroPadding(nn.Module):
    """A shortcut without parameters: every stride-th voxel, and zeros for the new channels.

    Shape: (B, C, T, H, W) -> (B, C + channels, T/s, H/s, W/s)
    """

    def __init__(self, channels: int, stride: Triple):
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        time, height, width = self.stride
        x_BCTHW = x_BCTHW[:, :, ::time, ::height, ::width]
        return F.pad(x_BCTHW, (0, 0, 0, 0, 0, 0, 0, self.channels))

    def extra_repr(self) -> str:
        return f"{self.channels}, stride={self.stride}"


def zero_padding(in_channels: int, out_channels: int, stride: int | Triple) -> ZeroPadding | None:
    """The shortcut of a block (type A); None if its ends do not differ."""
    strides = triple(stride, "stride")
    if in_channels == out_channels and strides == (1, 1, 1):
        return None
    return ZeroPadding(out_channels - in_channels, strides)


def block(
    in_channels: int,
    channels: int,
    stride: int,
    *,
    expansion: int,
    conv: Conv,
    widen: Widen = zero_padding,
    dilation: int = 1,
) -> Residual:
    """Two 3x3x3 kernels, or one between two 1x1x1; the first 3x3x3 has the stride.

    Args:
        dilation: Of every 3x3x3 kernel; above 1 it replaces the stride.
    """
    out_channels = channels * expansion
    stride = stride if dilation == 1 else 1
    wide = partial(conv, padding=dilation, dilation=dilation, bias=False)
    shortcut = widen(in_channels, out_channels, stride)
    if expansion == 1:
        return Residual(
            normed(wide(in_channels, channels, 3, stride), channels),
            normed(wide(channels, channels, 3), channels, relu=False),
            downsample=shortcut,
        )
    return Residual(
        normed(nn.Conv3d(in_channels, channels, 1, bias=False), channels),
        normed(wide(channels, channels, 3, stride), channels),
        normed(nn.Conv3d(channels, out_channels, 1, bias=False), out_channels, relu=False),
        downsample=shortcut,
    )


@register_models(
    {f"hara_resnet_{depth}": dict(depth=depth) for depth in DEPTHS},
    "3D ResNet of {depth} layers: 7x7x7 stem, shortcuts padded with zeros",
    "Hara et al., arXiv:1711.09577, Table 1; D3D, arXiv:2009.14639, Table 4",
    (1, 3, 16, 112, 112),
)
def hara_resnet(
    depth: int,
    *,
    in_channels: int = 3,
    num_classes: int = 400,
    widths: Sequence[int] = WIDTHS,
    conv: Conv = nn.Conv3d,
    shortcut: Literal["A", "B"] = "A",
    medical: bool = False,
) -> VideoResNet:
    """3D-ResNet, the baseline of D3D; with `medical` and one channel the trunk of MedicalNet.

    Args:
        conv: The operator of every 3x3x3 kernel.
        shortcut: If channels or sizes change, zeros ("A") or a 1x1x1 convolution ("B").
        medical: Stride 2 in the stem along depth too, and kernels dilated by 2 and 4 instead of
            the strides of the last two stages.
    """
    if shortcut not in ("A", "B"):
        raise LeanError(f"shortcut is 'A' or 'B', got {shortcut!r}")
    blocks, expansion = DEPTHS[depth]
    start = nn.Conv3d(in_channels, widths[0], 7, (1 + medical, 2, 2), 3, bias=False)
    widen = zero_padding if shortcut == "A" else projection
    build = partial(block, expansion=expansion, conv=conv, widen=widen)
    dilations = (1, 1, 2, 4) if medical else (1, 1, 1, 1)
    return VideoResNet(
        normed(start, widths[0]).append(nn.MaxPool3d(3, 2, 1)),
        stages([partial(build, dilation=d) for d in dilations], blocks, widths, expansion),
        in_channels=in_channels,
        features=widths[-1] * expansion,
        num_classes=num_classes,
    )
