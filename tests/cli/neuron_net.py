"""A network that needs no training: neighbours are together where the image is bright."""

import torch
import torch.nn.functional as F
from torch import nn


class BrightNet(nn.Module):
    """The mean of an image around a voxel, fine and coarse, less a quarter, as every affinity."""

    def __init__(self, in_channels=1, num_classes=3, dims=3):
        super().__init__()
        kind = nn.Conv3d if dims == 3 else nn.Conv2d
        self.fine = kind(in_channels, num_classes, 3, padding=1)
        self.pool = (nn.MaxPool3d if dims == 3 else nn.MaxPool2d)(2, ceil_mode=True)
        self.coarse = kind(in_channels, num_classes, 3, padding=1)
        with torch.no_grad():
            for conv, share in ((self.fine, 3.0), (self.coarse, 0.5)):
                conv.weight.fill_(share / 3**dims)
                conv.bias.fill_(0.1)

    def forward(self, x):
        coarse = self.coarse(self.pool(x))
        return self.fine(x) + F.interpolate(coarse, size=x.shape[2:], mode="nearest")


def flat(in_channels=1, num_classes=2):
    return BrightNet(in_channels, num_classes, dims=2)
