"""DenseNet over volumes that scores every voxel.

Papers: Gonda et al., Parallel Separable 3D Convolution (PmSCn), arXiv:1809.04096, Sec 4.2; after
Bui et al., 3D Densely Convolutional Networks for Volumetric Segmentation, arXiv:1709.03199
Differs from the paper: it gives neither the growth rate nor the stem nor how scales are joined.
Here the stem has 24 channels, every layer adds 28, and the scores of all five scales are added,
which gives the 5.2 million parameters the paper states.

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.models.blocks import Conv, initialise
from lean3d.models.registry import register_models
from lean3d.shape import check_axes

__all__ = ["DenseBlock", "DenseNet3d", "densenet3d"]

DEPTHS = (4, 4, 4, 4, 4)


def activated(conv: nn.Module, channels: int) -> nn.Sequential:
    """Batch norm, ReLU, then the convolution."""
    return nn.Sequential(nn.BatchNorm3d(channels), nn.ReLU(), conv)


class DenseBlock(nn.Module):
    """Layers that each take the outputs of all before, then a 1x1x1 over everything.

    Shape: (B, C, D, H, W) -> (B, C + layers * growth, D, H, W).
    """

    def __init__(self, in_channels: int, depth: int, growth: int, conv: Conv):
        super().__init__()
        widths = range(in_channels, in_channels + depth * growth, growth)
        self.layers = nn.ModuleList(
            activated(conv(width, growth, 3, padding=1, bias=False), width) for width in widths
        )
        out = in_channels + depth * growth
        self.transition = activated(nn.Conv3d(out, out, 1, bias=False), out)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return self.transition(x)


class DenseNet3d(nn.Module):
    """Dense blocks with pools of 2 between them; their scores are added at the input's size.

    Args:
        width: Channels of the stem.
        growth: Channels every layer adds.
        depths: Layers of each block.

    Shape: (B, C, D, H, W) -> (B, K, D, H, W); any size.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width: int,
        growth: int,
        depths: Sequence[int],
        conv: Conv,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.stem = conv(in_channels, width, 3, padding=1, bias=False)
        self.pool = nn.MaxPool3d(2, ceil_mode=True)
        self.blocks, self.heads = nn.ModuleList(), nn.ModuleList()
        scores: list[nn.Module] = []
        for depth in depths:
            self.blocks.append(DenseBlock(width, depth, growth, conv))
            width += depth * growth
            scores.append(nn.Conv3d(width, num_classes, 1))
            self.heads.append(activated(scores[-1], width))
        initialise(self, scores)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        check_axes(x_BCDHW, f"B C={self.in_channels} D H W", self)
        x, size = self.stem(x_BCDHW), list(x_BCDHW.shape[2:])
        scores = []
        for level, (block, head) in enumerate(zip(self.blocks, self.heads, strict=True)):
            x = block(self.pool(x) if level else x)
            scores.append(F.interpolate(head(x), size=size) if level else head(x))
        return reduce(torch.add, scores)


@register_models(
    {"densenet3d": {}},
    "DenseNet over volumes, five dense blocks, a score for every voxel",
    "PmSCn, arXiv:1809.04096, Sec 4.2",
    (1, 1, 64, 64, 64),
)
def densenet3d(
    *,
    in_channels: int = 1,
    num_classes: int = 4,
    width: int = 24,
    growth: int = 28,
    depths: Sequence[int] = DEPTHS,
    conv: Conv = nn.Conv3d,
) -> DenseNet3d:
    """The plain 3D network that PmSCn's DenseNets replace.

    Args:
        width: Channels of the stem.
        growth: Channels every layer adds.
        depths: Layers of each block.
        conv: The operator of every 3x3x3 kernel.
    """
    sizes = in_channels, num_classes
    return DenseNet3d(*sizes, width=width, growth=growth, depths=depths, conv=conv)
