"""SqueezeNet 1.1 over clips: few channels into every 3x3x3 convolution.

Papers: Kopuklu et al., Resource Efficient 3D Convolutional Neural Networks, arXiv:1904.02422,
Table 1; Iandola et al., SqueezeNet, arXiv:1602.07360. D3D (arXiv:2009.14639) lists it in Table 5.
Parameter names are those of the authors' release (Efficient-3DCNNs).

Axes: B batch, C channels, T time (D, depth, for volumes), H height, W width.
"""

import torch
from torch import Tensor, nn

from lean3d.models.blocks import Conv, initialise
from lean3d.models.light import LIGHT, Chain
from lean3d.models.registry import register_models

__all__ = ["Fire", "SqueezeNet"]

# squeezed channels, expanded channels on each side; "pool" halves every axis
STAGES = ((16, 64), (16, 64), "pool", (32, 128), (32, 128), "pool", (48, 192), (48, 192), "pool")
LAST = ((64, 256), (64, 256))


class Fire(nn.Module):
    """Squeeze by 1x1x1, expand by 1x1x1 beside `conv`; a shortcut if channels stay."""

    def __init__(self, in_channels: int, squeezed: int, expanded: int, conv: Conv):
        super().__init__()
        self.residual = in_channels == 2 * expanded
        self.squeeze = nn.Conv3d(in_channels, squeezed, 1)
        self.squeeze_bn = nn.BatchNorm3d(squeezed)
        self.expand1x1 = nn.Conv3d(squeezed, expanded, 1)
        self.expand1x1_bn = nn.BatchNorm3d(expanded)
        self.expand3x3 = conv(squeezed, expanded, 3, padding=1)
        self.expand3x3_bn = nn.BatchNorm3d(expanded)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.squeeze_bn(self.squeeze(x)))
        sides = self.expand1x1_bn(self.expand1x1(y)), self.expand3x3_bn(self.expand3x3(y))
        y = torch.cat(sides, dim=1)
        return self.relu(y + x if self.residual else y)


class SqueezeNet(Chain):
    """Fire modules and a convolutional classifier. Shape: (B, C, T, H, W) -> (B, K)."""

    def __init__(self, in_channels: int, num_classes: int, conv: Conv):
        stem = conv(in_channels, 64, 3, stride=(1, 2, 2), padding=1)
        layers = [stem, nn.BatchNorm3d(64), nn.ReLU(), nn.MaxPool3d(3, 2, 1)]
        channels = 64
        for stage in (*STAGES, *LAST):
            if isinstance(stage, str):
                layers.append(nn.MaxPool3d(3, 2, 1))
                continue
            layers.append(Fire(channels, *stage, conv))
            channels = 2 * stage[1]
        score = nn.Conv3d(channels, num_classes, 1)
        head = nn.Sequential(nn.Dropout(0.5), score, nn.ReLU(), nn.AdaptiveAvgPool3d(1))
        stages = {"features": nn.Sequential(*layers), "classifier": head}
        super().__init__(in_channels, stages | {"flatten": nn.Flatten()})
        initialise(self, scores=[score])


@register_models({"squeezenet3d": {}}, "SqueezeNet 1.1 over clips", *LIGHT)
def squeezenet3d(
    *, in_channels: int = 3, num_classes: int = 600, conv: Conv = nn.Conv3d
) -> SqueezeNet:
    """SqueezeNet 1.1 over clips, with shortcuts.

    Args:
        conv: The operator of every 3x3x3 kernel.
    """
    return SqueezeNet(in_channels, num_classes, conv)
