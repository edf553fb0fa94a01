"""ShuffleNets over clips: depthwise 3x3x3 convolutions, and shuffled channels.

Papers: Kopuklu et al., Resource Efficient 3D Convolutional Neural Networks, arXiv:1904.02422,
Tables 2 and 5; Zhang et al., ShuffleNet, arXiv:1707.01083; Ma et al., ShuffleNet V2,
arXiv:1807.11164. D3D (arXiv:2009.14639) lists them in Table 5.
Parameter names are those of the authors' release (Efficient-3DCNNs), which misspells `branch1`
and `branch2`.

Axes: B batch, C channels, T time (D, depth, for volumes), H height, W width.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.models.blocks import Conv
from lean3d.models.light import LIGHT, Chain, classifier, conv_norm
from lean3d.models.registry import register_models

__all__ = ["ShuffleNetV1", "ShuffleNetV2", "ShuffleUnitV1", "ShuffleUnitV2"]

Entry = TypeVar("Entry")
STEM = 24
DEPTHS = (4, 8, 4)
V1_WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
V2_WIDTHS = {
    0.25: (32, 64, 128, 1024),
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (224, 488, 976, 2048),
}


def pick(name: str, value: float, table: Mapping[Any, Entry]) -> Entry:
    """The entry of the paper's table for a setting."""
    if value not in table:
        raise LeanError(f"{name} is one of {', '.join(map(str, table))}, got {value}")
    return table[value]


def halved() -> nn.Sequential:
    """The mean of 2x3x3 positions at stride 2; an odd last frame is repeated."""
    again = nn.ReplicationPad3d((0, 0, 0, 0, 0, 1))
    # AvgPool3d refuses maps smaller than its kernel even if its own padding is enough
    border = nn.ZeroPad3d((1, 1, 1, 1, 0, 0))
    return nn.Sequential(again, border, nn.AvgPool3d((2, 3, 3), stride=2))


class ShuffleUnitV1(nn.Module):
    """Grouped 1x1x1, shuffle, depthwise `conv`, grouped 1x1x1; strided units join their input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int, conv: Conv):
        super().__init__()
        mid = out_channels // 4
        out = out_channels - in_channels if stride == 2 else out_channels
        # the first unit has few channels, so it is not grouped
        first = 1 if in_channels == STEM else groups
        self.conv1 = nn.Conv3d(in_channels, mid, 1, groups=first, bias=False)
        self.bn1 = nn.BatchNorm3d(mid)
        self.shuffle = nn.ChannelShuffle(groups)
        self.conv2 = conv(mid, mid, 3, stride=stride, padding=1, groups=mid, bias=False)
        self.bn2 = nn.BatchNorm3d(mid)
        self.conv3 = nn.Conv3d(mid, out, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm3d(out)
        self.relu = nn.ReLU()
        self.shortcut = halved() if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.shuffle(self.relu(self.bn1(self.conv1(x))))
        y = self.bn3(self.conv3(self.bn2(self.conv2(y))))
        if self.shortcut is None:
            return self.relu(y + x)
        return self.relu(torch.cat([y, self.shortcut(x)], dim=1))


class ShuffleUnitV2(nn.Module):
    """Half of the channels, or all with a stride, through 1x1x1, depthwise `conv`, 1x1x1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, conv: Conv):
        super().__init__()
        half = out_channels // 2
        self.branch1 = None
        if stride == 2:
            self.branch1 = nn.Sequential(
                *conv_norm(conv, in_channels, in_channels, 3, 2, groups=in_channels, act=None),
                *conv_norm(nn.Conv3d, in_channels, half, 1),
            )
        self.branch2 = nn.Sequential(
            *conv_norm(nn.Conv3d, in_channels if stride == 2 else half, half, 1),
            *conv_norm(conv, half, half, 3, stride, groups=half, act=None),
            *conv_norm(nn.Conv3d, half, half, 1),
        )
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        if self.branch1 is None:
            kept, changed = x.chunk(2, dim=1)
        else:
            kept, changed = self.branch1(x), x
        return self.shuffle(torch.cat([kept, self.branch2(changed)], dim=1))


def stem(in_channels: int, channels: int, conv: Conv) -> dict[str, nn.Module]:
    first = nn.Sequential(*conv_norm(conv, in_channels, channels, 3, (1, 2, 2)))
    return {"conv1": first, "maxpool": nn.MaxPool3d(3, stride=2, padding=1)}


class ShuffleNetV1(Chain):
    """Three stages of grouped units. Shape: (B, C, T, H, W) -> (B, K)."""

    def __init__(self, in_channels: int, num_classes: int, width: float, groups: int, conv: Conv):
        base, channels = pick("groups", groups, V1_WIDTHS), int(STEM * width)
        stages = stem(in_channels, channels, conv)
        for stage, depth in enumerate(DEPTHS):
            units, out = [], int(base * 2**stage * width)
            for unit in range(depth):
                units.append(ShuffleUnitV1(channels, out, 1 if unit else 2, groups, conv))
                channels = out
            stages[f"layer{stage + 1}"] = nn.Sequential(*units)
        super().__init__(in_channels, stages | classifier(channels, num_classes))


class ShuffleNetV2(Chain):
    """Three stages of split units. Shape: (B, C, T, H, W) -> (B, K)."""

    def __init__(self, in_channels: int, num_classes: int, width: float, conv: Conv):
        *widths, last = pick("width", width, V2_WIDTHS)
        units, channels = [], STEM
        for out, depth in zip(widths, DEPTHS, strict=True):
            for unit in range(depth):
                units.append(ShuffleUnitV2(channels, out, 1 if unit else 2, conv))
                channels = out
        stages = stem(in_channels, STEM, conv) | {"features": nn.Sequential(*units)}
        stages["conv_last"] = nn.Sequential(*conv_norm(nn.Conv3d, channels, last, 1))
        super().__init__(in_channels, stages | classifier(last, num_classes))


@register_models({"shufflenet3d_v1": {}}, "ShuffleNet over clips", *LIGHT)
def shufflenet3d_v1(
    *,
    in_channels: int = 3,
    num_classes: int = 600,
    width: float = 1.0,
    groups: int = 3,
    conv: Conv = nn.Conv3d,
) -> ShuffleNetV1:
    """ShuffleNet over clips.

    Args:
        width: Multiplies the channels; 2.0 in D3D's Table 5.
        groups: Of the 1x1x1 convolutions: 1, 2, 3, 4 or 8.
        conv: The operator of every 3x3x3 kernel, depthwise ones included.
    """
    return ShuffleNetV1(in_channels, num_classes, width, groups, conv)


@register_models({"shufflenet3d_v2": {}}, "ShuffleNetV2 over clips", *LIGHT)
def shufflenet3d_v2(
    *, in_channels: int = 3, num_classes: int = 600, width: float = 1.0, conv: Conv = nn.Conv3d
) -> ShuffleNetV2:
    """ShuffleNetV2 over clips.

    Args:
        width: 0.25, 0.5, 1, 1.5 or 2, the last in D3D's Table 5.
        conv: The operator of every 3x3x3 kernel, depthwise ones included.
    """
    return ShuffleNetV2(in_channels, num_classes, width, conv)
