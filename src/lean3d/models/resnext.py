"""ResNeXt over clips: bottlenecks whose 3x3x3 kernels come in groups.

Papers: Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?,
arXiv:1711.09577, Table 1; Xie et al., arXiv:1611.05431. D3D (arXiv:2009.14639) lists it in Table 5.
"""

from functools import partial

from torch import nn

from lean3d.models.blocks import WIDTHS, Conv, Residual, VideoResNet, bottleneck, normed, stages
from lean3d.models.light import LIGHT
from lean3d.models.registry import register_models

__all__ = ["resnext3d"]

DEPTHS = {101: (3, 4, 23, 3)}
EXPANSION = 4


@register_models(
    {f"resnext3d_{depth}": dict(depth=depth) for depth in DEPTHS},
    "ResNeXt of {depth} layers over clips: 7x7x7 stem, grouped 3x3x3",
    *LIGHT,
)
def resnext3d(
    depth: int,
    *,
    in_channels: int = 3,
    num_classes: int = 600,
    groups: int = 32,
    conv: Conv = nn.Conv3d,
) -> VideoResNet:
    """ResNeXt with projection shortcuts.

    Args:
        groups: Of every 3x3x3 kernel, the cardinality.
        conv: The operator of every 3x3x3 kernel.
    """
    grouped = partial(conv, groups=groups)

    def block(in_channels: int, channels: int, stride: int) -> Residual:
        return bottleneck(in_channels, 2 * channels, stride, conv=grouped, expansion=EXPANSION // 2)

    stem = nn.Conv3d(in_channels, WIDTHS[0], 7, (1, 2, 2), 3, bias=False)
    return VideoResNet(
        normed(stem, WIDTHS[0]).append(nn.MaxPool3d(3, 2, 1)),
        stages([block] * 4, DEPTHS[depth], WIDTHS, EXPANSION),
        in_channels=in_channels,
        features=WIDTHS[-1] * EXPANSION,
        num_classes=num_classes,
    )
