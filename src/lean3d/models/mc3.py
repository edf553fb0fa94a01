"""MC3: 3x3x3 kernels in the first stage, 1x3x3 kernels and no temporal stride after it.

Paper: Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition,
arXiv:1711.11248, Sec 3.4; with the stem and the stages of torchvision's mc3_18
Differs from the paper: batch norm has the epsilon 1e-5 of PyTorch, theirs is 1e-3.
"""

from collections.abc import Sequence
from functools import partial

from torch import nn

from lean3d.models.blocks import WIDTHS, Conv, Residual, VideoResNet, simple, stages, stem
from lean3d.models.registry import register_models

__all__ = ["mc3"]


@register_models(
    {"mc3_18": {}},
    "MC3 of 18 layers: 3x3x3 in the first stage, 1x3x3 after it",
    "R(2+1)D, arXiv:1711.11248, Sec 3.4",
    (1, 3, 16, 112, 112),
)
def mc3(
    *,
    in_channels: int = 3,
    num_classes: int = 400,
    widths: Sequence[int] = WIDTHS,
    conv: Conv = nn.Conv3d,
    pool1: bool = False,
) -> VideoResNet:
    """MC3; the default is torchvision's mc3_18.

    Args:
        conv: The operator of every 3x3x3 and 1x3x3 kernel.
        pool1: Whether a pool follows the stem.
    """

    def flat(in_channels: int, channels: int, stride: int) -> Residual:
        step = (1, stride, stride)
        return simple(in_channels, channels, step, conv=conv, kernel=(1, 3, 3))

    return VideoResNet(
        stem(in_channels, widths[0], pool=pool1),
        stages([partial(simple, conv=conv), flat, flat, flat], (2, 2, 2, 2), widths),
        in_channels=in_channels,
        features=widths[-1],
        num_classes=num_classes,
    )
