"""Small 2D networks of the usual kinds, made of torch.nn modules."""

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    def __init__(self, channels: int, out: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        nn.init.zeros_(self.norm2.weight)  # the branch starts silent, as in many zoos
        self.down = nn.Identity()
        if stride > 1 or channels != out:
            self.down = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return self.relu(y + self.down(x))


class ResNet(nn.Module):
    def __init__(self, width: int = 6, classes: int = 5):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(
            BasicBlock(width, width), BasicBlock(width, 8, 2), BasicBlock(8, 9, 2)
        )
        self.average = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(9, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(self.pool(self.norm(self.stem(x)).relu()))
        return self.head(torch.flatten(self.average(y), 1))


class UNet(nn.Module):
    """Skips by concatenation, transposed convolutions, a map out."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.inside = self._double(1, width)
        self.pool = nn.MaxPool2d(2)
        self.middle = self._double(width, 2 * width)
        self.deep = self._double(2 * width, 4 * width)
        self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.join1 = self._double(4 * width, 2 * width)
        self.up2 = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.join2 = self._double(2 * width, width)
        self.out = nn.Conv2d(width, 3, 1)

    @staticmethod
    def _double(channels: int, out: int) -> nn.Sequential:
        first = nn.Conv2d(channels, out, 3, padding=1)
        second = nn.Conv2d(out, out, 3, padding=1)
        return nn.Sequential(first, nn.InstanceNorm2d(out, affine=True), nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        a = self.inside(x)
        b = self.middle(self.pool(a))
        c = self.deep(self.pool(b))
        b = self.join1(torch.cat([b, self.up1(c)], 1))
        return self.out(self.join2(torch.cat([a, self.up2(b)], 1)))


def vgg(classes: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2, 2, ceil_mode=True),
        nn.Conv2d(6, 7, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, 2),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(7, classes),
    )


def mobile() -> nn.Sequential:
    """Depthwise, grouped, dilated and non-square convolutions; pads; every activation is plain."""
    return nn.Sequential(
        nn.ReflectionPad2d((1, 2, 2, 1)),
        nn.Conv2d(2, 8, 3, 2, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 16, 3, 1, 1, groups=8),
        nn.Hardswish(),
        nn.Conv2d(16, 12, 3, padding=2, dilation=2, groups=4),
        nn.GroupNorm(3, 12),
        nn.Conv2d(12, 12, (1, 5), padding=(0, 2)),
        nn.Conv2d(12, 6, (5, 1), padding="same"),
        nn.Dropout2d(),
        nn.AvgPool2d(3, 1, 1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        nn.Conv2d(6, 8, 1),
        nn.PixelShuffle(2),
    )


class SqueezeExcite(nn.Module):
    """Speaks 2D: the mean is over axes 2 and 3."""

    def __init__(self, channels: int, keepdim: bool = True):
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
