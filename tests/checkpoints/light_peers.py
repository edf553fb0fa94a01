"""Efficient-3DCNNs' ShuffleNetV2, which misspells its branches, and a network of timm_3d."""

import torch
import torch.nn.functional as F
from torch import nn


def normed(channels, out, size, stride=1, groups=1, relu=True):
    conv = nn.Conv3d(channels, out, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm3d(out), *([nn.ReLU()] if relu else [])]


class InvertedResidual(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        half = out // 2
        self.stride, ins = stride, channels if stride == 2 else half
        if stride == 2:
            depthwise = normed(channels, channels, 3, 2, channels, relu=False)
            self.banch1 = nn.Sequential(*depthwise, *normed(channels, half, 1))
        depthwise = normed(half, half, 3, stride, half, relu=False)
        last = normed(half, half, 1)
        self.banch2 = nn.Sequential(*normed(ins, half, 1), *depthwise, *last)

    def forward(self, x):
        if self.stride == 1:
            kept, changed = x.tensor_split(2, dim=1)
            y = torch.cat([kept, self.banch2(changed)], 1)
        else:
            y = torch.cat([self.banch1(x), self.banch2(x)], 1)
        batch, channels, *sizes = y.shape
        return y.view(batch, 2, channels // 2, *sizes).transpose(1, 2).reshape(y.shape)


class ShuffleNetV2(nn.Module):
    """Of a quarter of the width."""

    def __init__(self, num_classes=7):
        super().__init__()
        self.conv1 = nn.Sequential(*normed(3, 24, 3, (1, 2, 2)))
        units, channels = [], 24
        for out, depth in ((32, 4), (64, 8), (128, 4)):
            for unit in range(depth):
                units.append(InvertedResidual(channels, out, 1 if unit else 2))
                channels = out
        self.features = nn.Sequential(*units)
        self.conv_last = nn.Sequential(*normed(channels, 1024, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1024, num_classes))

    def forward(self, x):
        x = F.max_pool3d(self.conv1(x), 3, 2, 1)
        return self.classifier(self.conv_last(self.features(x)).mean((2, 3, 4)))


class TimmNet(nn.Module):
    """A small network of timm's names; of dimension 3, as timm_3d builds it, depth last."""

    def __init__(self, dimension, num_classes=7):
        super().__init__()
        conv, norm = getattr(nn, f"Conv{dimension}d"), getattr(nn, f"BatchNorm{dimension}d")
        self.conv1, self.bn1 = conv(3, 6, 7, 2, 3, bias=False), norm(6)
        self.maxpool = getattr(nn, f"MaxPool{dimension}d")(3, 2, 1)
        self.conv_dw, self.bn2 = conv(6, 6, 3, 2, 1, groups=6), norm(6)
        self.pool = getattr(nn, f"AdaptiveAvgPool{dimension}d")(1)
        self.fc = nn.Linear(6, num_classes)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return self.fc(self.pool(F.relu(self.bn2(self.conv_dw(x)))).flatten(1))
