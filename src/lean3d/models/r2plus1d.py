"""R(2+1)D: every 3x3x3 kernel of a ResNet is a 1x3x3 and a 3x1x1 with a ReLU in between.

Paper: Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition,
arXiv:1711.11248, Sec 3.5 and 4; 152 layers as in the authors' code
Differs from the paper: batch norm has the epsilon 1e-5 of PyTorch, theirs is 1e-3.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from torch import nn

from lean3d.errors import LeanError
from lean3d.models.blocks import (
    WIDTHS,
    Conv,
    VideoResNet,
    normed,
    projection,
    space_pool,
    stages,
)
from lean3d.models.registry import register_models
from lean3d.models.resnet3d import DEPTHS
from lean3d.ops.base import along
from lean3d.ops.space_time import matching_width
from lean3d.shape import Triple, triple

__all__ = ["factorised", "r2plus1d"]

STEM_WIDTH = 45


def factorised(
    in_channels: int,
    out_channels: int,
    kernel: int | Triple,
    stride: int | Triple,
    padding: int | Triple,
    *,
    bias: bool,
    conv: Conv,
    middle: int | None = None,
) -> nn.Sequential:
    """1 x k x k, batch norm, ReLU, k x 1 x 1.

    Args:
        middle: Channels in between; None for as many as give the parameters of k x k x k.
    """
    middle = middle or matching_width(in_channels, out_channels, triple(kernel))
    space, time = along(triple(kernel), 0, 1)
    over, step = along(triple(stride), 0, 1)
    beside, before = along(triple(padding), 0, 0)
    first = conv(in_channels, middle, space, over, beside, bias=False)
    return normed(first, middle).append(conv(middle, out_channels, time, step, before, bias=bias))


def paired_projection(
    in_channels: int, out_channels: int, stride: int | Triple
) -> nn.Sequential | None:
    """A projection factorised as if it were 3x1x1, as mmaction2 computes the middle channels."""
    if in_channels == out_channels and triple(stride) == (1, 1, 1):
        return None
    middle = matching_width(in_channels, out_channels, (3, 1, 1))
    whole: dict[str, Any] = dict(bias=False, conv=nn.Conv3d, middle=middle)
    pair = factorised(in_channels, out_channels, 1, stride, 0, **whole)
    return normed(pair, out_channels, relu=False)


@register_models(
    {f"r2plus1d_{depth}": dict(depth=depth) for depth in (18, 34, 152)},
    "R(2+1)D of {depth} layers: 1x3x3, ReLU, 3x1x1",
    "R(2+1)D, arXiv:1711.11248, Sec 3.5",
    (1, 3, 32, 112, 112),
)
def r2plus1d(
    depth: int,
    *,
    in_channels: int = 3,
    num_classes: int = 400,
    widths: Sequence[int] = WIDTHS,
    conv: Conv = nn.Conv3d,
    pool1: bool = False,
    midplanes: Literal["paper", "torchvision", "mmaction2"] = "paper",
) -> VideoResNet:
    """R(2+1)D; with 18 layers and `midplanes="torchvision"` it is torchvision's r2plus1d_18.

    Args:
        conv: The operator of every 1x3x3 and 3x1x1 kernel of a block.
        pool1: Whether a pool follows the stem.
        midplanes: Channels between space and time, from the channels of the convolution replaced
            ("paper") or from those of the block's first ("torchvision"); "mmaction2" is the
            paper's, with stem and shortcuts factorised by the same rule.
    """
    if midplanes not in ("paper", "torchvision", "mmaction2"):
        raise LeanError(f"midplanes is 'paper', 'torchvision' or 'mmaction2', got {midplanes!r}")
    block, depths, expansion = DEPTHS[depth]
    every = midplanes == "mmaction2"

    def build(in_channels: int, channels: int, stride: int) -> nn.Module:
        first = matching_width(in_channels, channels, (3, 3, 3))
        middle = first if midplanes == "torchvision" else None
        pair = partial(factorised, conv=conv, middle=middle)
        widen = paired_projection if every else projection
        return block(in_channels, channels, stride, conv=pair, widen=widen)

    return VideoResNet(
        _stem(in_channels, widths[0], None if every else STEM_WIDTH, pool=pool1),
        stages([build] * 4, depths, widths, expansion),
        in_channels=in_channels,
        features=widths[-1] * expansion,
        num_classes=num_classes,
    )


def _stem(in_channels: int, channels: int, middle: int | None, *, pool: bool) -> nn.Sequential:
    """1x7x7 that halves height and width, then 3x1x1."""
    size = (3, 7, 7), (1, 2, 2), (1, 3, 3)
    whole: dict[str, Any] = dict(bias=False, conv=nn.Conv3d, middle=middle)
    *pair, last = factorised(in_channels, channels, *size, **whole)
    return nn.Sequential(*pair, *normed(last, channels), *([space_pool()] if pool else []))
