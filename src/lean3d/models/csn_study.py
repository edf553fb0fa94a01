"""The networks of CSN's study of blocks, with increasingly grouped ResNet blocks.

Paper: Tran et al., Video Classification with Channel-Separated Convolutional Networks (CSN),
arXiv:1904.02811, Sec 3.4 and 4.4, Figures 3, 4, 6 and 7; its simple-X-8 is simple_x_8 here
Differs from the paper: it does not specify where simple-D has the 1x1x1 that widens; here it comes
first, with batch norm and ReLU, and the depthwise kernels follow. Shortcuts are not grouped. The
bottlenecks of 8 blocks do not expand, as in ResNet3D-26.
"""

from collections.abc import Sequence
from functools import partial

from torch import nn

from lean3d.errors import LeanError
from lean3d.models.blocks import (
    WIDTHS,
    Block,
    Conv,
    Residual,
    VideoResNet,
    bottleneck,
    depthwise,
    normed,
    projection,
    simple,
    stages,
    stem,
)
from lean3d.models.registry import register_models

__all__ = ["simple_depthwise", "study"]

BLOCKS = {8: (2, 2, 2, 2), 16: (3, 4, 6, 3)}
# kind -> its block and the parts of the block; kinds that end in g take any number of groups
KINDS = {
    "simple": ("simple", "two 3x3x3"),
    "simple_g": ("simple", "two grouped 3x3x3"),
    "simple_d": ("simple_d", "two depthwise 3x3x3, after a 1x1x1 that widens"),
    "bottleneck": ("bottleneck", "1x1x1, 3x3x3, 1x1x1"),
    "bottleneck_g": ("bottleneck", "1x1x1, grouped 3x3x3, 1x1x1"),
    "bottleneck_d": ("bottleneck_d", "1x1x1, depthwise 3x3x3, 1x1x1"),
    "bottleneck_dg": ("bottleneck_d", "grouped 1x1x1, depthwise 3x3x3, grouped 1x1x1"),
}


def simple_depthwise(in_channels: int, channels: int, stride: int, *, conv: Conv) -> Residual:
    """Simple-D: two depthwise operators, after a 1x1x1 if the channels change."""
    deep = depthwise(conv)
    layers = [
        normed(deep(channels, channels, 3, stride, 1, bias=False), channels),
        normed(deep(channels, channels, 3, padding=1, bias=False), channels, relu=False),
    ]
    if in_channels != channels:
        layers.insert(0, normed(nn.Conv3d(in_channels, channels, 1, bias=False), channels))
    return Residual(*layers, downsample=projection(in_channels, channels, stride))


def study(
    block: str,
    blocks: int,
    *,
    groups: int = 2,
    in_channels: int = 3,
    num_classes: int = 400,
    widths: Sequence[int] = WIDTHS,
    conv: Conv = nn.Conv3d,
) -> VideoResNet:
    """A network of one kind of block.

    Args:
        groups: Of the 3x3x3 kernels, or of the 1x1x1 kernels in bottleneck-DG.
        conv: The operator of every 3x3x3 kernel.
    """
    if groups < 1 or any(width % groups for width in widths):
        raise LeanError(f"groups must divide each of the widths {tuple(widths)}, got {groups}")
    expansion = 4 if block.startswith("bottleneck") and blocks == 16 else 1
    kinds = [_block(block, conv, groups, expansion)] * 4
    return VideoResNet(
        stem(in_channels, widths[0], pool=True),
        stages(kinds, BLOCKS[blocks], widths, expansion),
        in_channels=in_channels,
        features=widths[-1] * expansion,
        num_classes=num_classes,
    )


def _block(block: str, conv: Conv, groups: int, expansion: int) -> Block:
    if block == "simple":
        return partial(simple, conv=partial(conv, groups=groups))
    if block == "simple_d":
        return partial(simple_depthwise, conv=conv)
    wide = partial(bottleneck, expansion=expansion)
    if block == "bottleneck":
        return partial(wide, conv=partial(conv, groups=groups))
    return partial(wide, conv=depthwise(conv), pointwise=partial(nn.Conv3d, groups=groups))


for kind, (block, line) in KINDS.items():
    free = {} if kind.endswith("g") else dict(groups=1)
    register_models(
        {f"{kind}_{blocks}": dict(block=block, blocks=blocks, **free) for blocks in BLOCKS},
        f"Study of blocks: {line}; {{blocks}} blocks",
        "CSN, arXiv:1904.02811, Sec 3.4",
        (1, 3, 8, 224, 224),
    )(study)
