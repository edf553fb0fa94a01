"""A network that needs no training: class 1 is where the image is bright."""

import torch
import torch.nn.functional as F
from torch import nn


class BrightNet(nn.Module):
    """Class 1 by the mean of eight voxels, less a threshold."""

    def __init__(self, in_channels=1, num_classes=2):
        super().__init__()
        self.pool, self.mean = nn.AvgPool3d(2), nn.Conv3d(in_channels, 2, 1)
        with torch.no_grad():
            self.mean.weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1, 1))
            self.mean.bias.copy_(torch.tensor([1.0, -1.0]))

    def forward(self, x):
        return F.interpolate(F.relu(self.mean(self.pool(x))), scale_factor=2)
