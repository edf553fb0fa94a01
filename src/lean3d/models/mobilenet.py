"""MobileNets over clips: depthwise 3x3x3 convolutions between 1x1x1 ones.

Papers: Kopuklu et al., Resource Efficient 3D Convolutional Neural Networks, arXiv:1904.02422,
Tables 3 and 4; Howard et al., MobileNets, arXiv:1704.04861; Sandler et al., MobileNetV2,
arXiv:1801.04381. D3D (arXiv:2009.14639) lists them in Table 5.
Parameter names are those of the authors' release (Efficient-3DCNNs).

Axes: B batch, C channels, T time (D, depth, for volumes), H height, W width.
"""

from torch import Tensor, nn

from lean3d.models.blocks import Conv, initialise
from lean3d.models.light import LIGHT, Chain, classifier, conv_norm
from lean3d.models.registry import register_models

__all__ = ["InvertedResidual", "MobileNetV1", "MobileNetV2", "Separable"]

# channels, blocks, stride of the first
V1_STAGES = ((64, 1, 2), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 1))
# expansion, channels, blocks, stride of the first
V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Separable(nn.Module):
    """Depthwise `conv`, then 1x1x1. Shape: (B, C, T, H, W) -> (B, C', T/s, H/s, W/s)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, conv: Conv):
        super().__init__()
        size = dict(stride=stride, padding=1, groups=in_channels, bias=False)
        self.conv1 = conv(in_channels, in_channels, 3, **size)
        self.bn1 = nn.BatchNorm3d(in_channels)
        self.conv2 = nn.Conv3d(in_channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class InvertedResidual(nn.Module):
    """Widen, depthwise `conv`, narrow without activation; a shortcut where sizes stay."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int, conv: Conv
    ):
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        mid = in_channels * expansion
        widen = [] if expansion == 1 else conv_norm(nn.Conv3d, in_channels, mid, 1, act=nn.ReLU6)
        self.conv = nn.Sequential(
            *widen,
            *conv_norm(conv, mid, mid, 3, stride, groups=mid, act=nn.ReLU6),
            *conv_norm(nn.Conv3d, mid, out_channels, 1, act=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV1(Chain):
    """Separable blocks. Shape: (B, C, T, H, W) -> (B, K)."""

    def __init__(self, in_channels: int, num_classes: int, width: float, conv: Conv):
        channels = int(32 * width)
        stem = conv_norm(conv, in_channels, channels, 3, (1, 2, 2))
        blocks: list[nn.Module] = [nn.Sequential(*stem)]
        for base, depth, stride in V1_STAGES:
            out = int(base * width)
            for block in range(depth):
                blocks.append(Separable(channels, out, 1 if block else stride, conv))
                channels = out
        features = {"features": nn.Sequential(*blocks)}
        super().__init__(in_channels, features | classifier(channels, num_classes))


class MobileNetV2(Chain):
    """Inverted residual blocks. Shape: (B, C, T, H, W) -> (B, K)."""

    def __init__(self, in_channels: int, num_classes: int, width: float, conv: Conv):
        channels, last = int(32 * width), int(1280 * max(width, 1))
        stem = conv_norm(conv, in_channels, channels, 3, (1, 2, 2), act=nn.ReLU6)
        blocks: list[nn.Module] = [nn.Sequential(*stem)]
        for expansion, base, depth, stride in V2_STAGES:
            out = int(base * width)
            for block in range(depth):
                step = 1 if block else stride
                blocks.append(InvertedResidual(channels, out, step, expansion, conv))
                channels = out
        blocks.append(nn.Sequential(*conv_norm(nn.Conv3d, channels, last, 1, act=nn.ReLU6)))
        features = {"features": nn.Sequential(*blocks)}
        super().__init__(in_channels, features | classifier(last, num_classes))
        initialise(self)


@register_models({"mobilenet3d_v1": {}}, "MobileNet over clips", *LIGHT)
def mobilenet3d_v1(
    *, in_channels: int = 3, num_classes: int = 600, width: float = 1.0, conv: Conv = nn.Conv3d
) -> MobileNetV1:
    """MobileNet over clips.

    Args:
        width: Multiplies the channels; 2.0 in D3D's Table 5.
        conv: The operator of every 3x3x3 kernel, depthwise ones included.
    """
    return MobileNetV1(in_channels, num_classes, width, conv)


@register_models({"mobilenet3d_v2": {}}, "MobileNetV2 over clips", *LIGHT)
def mobilenet3d_v2(
    *, in_channels: int = 3, num_classes: int = 600, width: float = 1.0, conv: Conv = nn.Conv3d
) -> MobileNetV2:
    """MobileNetV2 over clips.

    Args:
        width: Multiplies the channels; 1.0 in D3D's Table 5.
        conv: The operator of every 3x3x3 kernel, depthwise ones included.
    """
    return MobileNetV2(in_channels, num_classes, width, conv)
