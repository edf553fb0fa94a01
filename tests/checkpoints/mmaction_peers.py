"""mmaction2's networks: ConvModules, and the pairs of its R(2+1)D."""

import torch.nn.functional as F
from peers import BLOCKS, WIDTHS
from torch import nn


class ConvModule(nn.Module):
    """mmcv's: `conv`, `bn` with the epsilon 1e-3, and a ReLU if there is one."""

    def __init__(self, channels, out, kernel, stride=1, groups=1, relu=True):
        super().__init__()
        size = dict(stride=stride, padding=tuple(k // 2 for k in kernel), groups=groups, bias=False)
        self.conv = nn.Conv3d(channels, out, kernel, **size)
        self.bn = nn.BatchNorm3d(out, eps=1e-3)
        self.relu = relu

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x


class MMBottleneck(nn.Module):
    def __init__(self, channels, width, stride, mode):
        super().__init__()
        out, point = 4 * width, (1, 1, 1)
        self.conv1 = ConvModule(channels, width, point)
        middle = [ConvModule(width, width, point, relu=False)] if mode == "ip" else []
        self.conv2 = nn.Sequential(*middle, ConvModule(width, width, (3, 3, 3), stride, width))
        self.conv3 = ConvModule(width, out, point, relu=False)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = ConvModule(channels, out, point, stride, relu=False)

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + shortcut)


class MMCSN(nn.Module):
    """mmaction2's Recognizer3D with ResNet3dCSN of 50 layers and an I3DHead."""

    def __init__(self, mode, widths=WIDTHS, num_classes=7):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.conv1 = ConvModule(3, widths[0], (3, 7, 7), (1, 2, 2))
        self.backbone.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        channels = widths[0]
        for stage, (width, blocks) in enumerate(zip(widths, BLOCKS, strict=True), start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                layer.append(MMBottleneck(channels, width, stride, mode))
                channels = 4 * width
            self.backbone.add_module(f"layer{stage}", layer)
        self.cls_head = nn.Module()
        self.cls_head.fc_cls = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.backbone.maxpool(self.backbone.conv1(x))
        for stage in range(1, 5):
            x = getattr(self.backbone, f"layer{stage}")(x)
        return self.cls_head.fc_cls(x.mean((2, 3, 4)))


class Conv2plus1d(nn.Module):
    """Its norm is built apart from those of the backbone, and has PyTorch's epsilon."""

    def __init__(self, channels, out, kernel, stride, padding):
        super().__init__()
        time, height, width = kernel
        # 3 whatever the kernel is along time
        middle = int(3 * channels * out * height * width / (channels * height * width + 3 * out))
        size = dict(stride=(1, *stride[1:]), padding=(0, *padding[1:]), bias=False)
        self.conv_s = nn.Conv3d(channels, middle, (1, height, width), **size)
        self.bn_s = nn.BatchNorm3d(middle)
        size = dict(stride=(stride[0], 1, 1), padding=(padding[0], 0, 0), bias=False)
        self.conv_t = nn.Conv3d(middle, out, (time, 1, 1), **size)

    def forward(self, x):
        return self.conv_t(F.relu(self.bn_s(self.conv_s(x))))


class PairModule(nn.Module):
    """A ConvModule whose convolution is a Conv2plus1d."""

    def __init__(self, channels, out, kernel, stride=(1, 1, 1), relu=True):
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.conv = Conv2plus1d(channels, out, kernel, stride, padding)
        self.bn = nn.BatchNorm3d(out, eps=1e-3)
        self.relu = relu

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x


class PairBlock(nn.Module):
    def __init__(self, channels, out, step):
        super().__init__()
        stride = (step,) * 3
        self.conv1 = PairModule(channels, out, (3, 3, 3), stride)
        self.conv2 = PairModule(out, out, (3, 3, 3), relu=False)
        self.downsample = None
        if (channels, step) != (out, 1):
            self.downsample = PairModule(channels, out, (1, 1, 1), stride, relu=False)

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class MMR2Plus1d(nn.Module):
    """Recognizer3D with ResNet2Plus1d of 34 layers and an I3DHead."""

    def __init__(self, widths=WIDTHS, num_classes=7):
        super().__init__()
        self.backbone, channels = nn.Module(), widths[0]
        self.backbone.conv1 = PairModule(3, channels, (3, 7, 7), (1, 2, 2))
        for stage, (width, blocks) in enumerate(zip(widths, BLOCKS, strict=True), start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                layer.append(PairBlock(channels, width, 2 if stage > 1 and block == 0 else 1))
                channels = width
            self.backbone.add_module(f"layer{stage}", layer)
        self.cls_head = nn.Module()
        self.cls_head.fc_cls = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = F.max_pool3d(self.backbone.conv1(x), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for stage in range(1, 5):
            x = getattr(self.backbone, f"layer{stage}")(x)
        return self.cls_head.fc_cls(x.mean((2, 3, 4)))
