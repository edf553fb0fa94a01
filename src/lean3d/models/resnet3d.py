"""ResNet3D: residual networks with 3x3x3 kernels, the base architecture of CSN.

Paper: Tran et al., Video Classification with Channel-Separated Convolutional Networks (CSN),
arXiv:1904.02811, Table 1; initialisation of the authors' code.
Differs from the paper: batch norm has the epsilon 1e-5 of PyTorch, theirs is 1e-3. Their 26 layers
are bottlenecks that do not expand, as only their code shows.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from lean3d.models.blocks import WIDTHS, Conv, VideoResNet, bottleneck, simple, stages, stem
from lean3d.models.registry import register_models

__all__ = ["DEPTHS", "resnet3d"]

# layers -> kind of block, blocks of each stage, and how far a block widens its output
DEPTHS: dict[int, tuple[Callable[..., nn.Module], tuple[int, ...], int]] = {
    18: (simple, (2, 2, 2, 2), 1),
    26: (partial(bottleneck, expansion=1), (2, 2, 2, 2), 1),
    34: (simple, (3, 4, 6, 3), 1),
    50: (bottleneck, (3, 4, 6, 3), 4),
    101: (bottleneck, (3, 4, 23, 3), 4),
    152: (bottleneck, (3, 8, 36, 3), 4),
}


@register_models(
    {f"resnet3d_{depth}": dict(depth=depth) for depth in DEPTHS},
    "ResNet3D of {depth} layers, 3x3x3 kernels",
    "CSN, arXiv:1904.02811, Table 1",
    (1, 3, 8, 224, 224),
)
def resnet3d(
    depth: int,
    *,
    in_channels: int = 3,
    num_classes: int = 400,
    widths: Sequence[int] = WIDTHS,
    conv: Conv = nn.Conv3d,
    pool1: bool = True,
) -> VideoResNet:
    """ResNet3D; without `pool1` and 18 layers it is torchvision's r3d_18.

    Args:
        conv: The operator of every 3x3x3 kernel.
        pool1: Whether a pool follows the stem.
    """
    block, depths, expansion = DEPTHS[depth]
    return VideoResNet(
        stem(in_channels, widths[0], pool=pool1),
        stages([partial(block, conv=conv)] * 4, depths, widths, expansion),
        in_channels=in_channels,
        features=widths[-1] * expansion,
        num_classes=num_classes,
    )
