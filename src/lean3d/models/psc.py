"""The networks of PmSCn: m parallel streams of n 2D convolutions and a 1D one replace 3D ones.

Paper: Gonda et al., Parallel Separable 3D Convolution for Video and Volumetric Data Understanding
(PmSCn), arXiv:1809.04096, Sec 3.3 and 4
Differs from the paper: no known differences; it does not specify the places of three 2D
convolutions in a ResNet. Here one unit replaces n consecutive convolutions of a stage, rounded up,
and each unit has its own shortcut. In a U-Net one unit replaces a level's two convolutions, in a
DenseNet one, as in Sec 4.2 and 4.3.
"""

from collections.abc import Sequence
from functools import partial

from lean3d.models.blocks import (
    WIDTHS,
    Conv,
    Residual,
    VideoResNet,
    normed,
    projection,
    stages,
    stem,
)
from lean3d.models.densenet import DEPTHS, DenseNet3d, densenet3d
from lean3d.models.registry import register_models
from lean3d.models.resnet3d import resnet3d
from lean3d.models.unet import UNet, unet
from lean3d.ops import ParallelSeparableConv3d

__all__ = ["psc_densenet", "psc_resnet34", "psc_unet"]

BLOCKS = (3, 4, 6, 3)


def unit(streams: int, depth: int, conv: Conv | None) -> Conv:
    """Return PmSCn itself, or another operator in its places."""
    return conv or partial(ParallelSeparableConv3d, streams=streams, depth=depth)


@register_models(
    {"psc_resnet34": {}},
    "ResNet3D-34 with a PmSCn unit for every n convolutions",
    "PmSCn, arXiv:1809.04096, Sec 4.1",
    (1, 3, 64, 64, 64),
)
def psc_resnet34(
    *,
    streams: int = 2,
    depth: int = 2,
    in_channels: int = 3,
    num_classes: int = 101,
    widths: Sequence[int] = WIDTHS,
    conv: Conv | None = None,
) -> VideoResNet:
    """ResNet-34 of PmSCn; its plain form is resnet3d_34.

    Args:
        streams: m.
        depth: n; each residual block holds two units of one 2D convolution, or one of more.
        conv: Another operator in place of every unit.
    """
    operator = unit(streams, depth, conv)
    if depth == 1:
        return resnet3d(
            34, in_channels=in_channels, num_classes=num_classes, widths=widths, conv=operator
        )

    def block(in_channels: int, channels: int, stride: int) -> Residual:
        one = normed(
            operator(in_channels, channels, 3, stride, 1, bias=False), channels, relu=False
        )
        return Residual(one, downsample=projection(in_channels, channels, stride))

    units = [-(-2 * blocks // depth) for blocks in BLOCKS]
    return VideoResNet(
        stem(in_channels, widths[0], pool=True),
        stages([block] * len(units), units, widths),
        in_channels=in_channels,
        features=widths[-1],
        num_classes=num_classes,
    )


@register_models(
    {"psc_densenet": {}},
    "DenseNet over volumes with a PmSCn unit for every convolution",
    "PmSCn, arXiv:1809.04096, Sec 4.2",
    (1, 1, 64, 64, 64),
)
def psc_densenet(
    *,
    streams: int = 2,
    depth: int = 2,
    in_channels: int = 1,
    num_classes: int = 4,
    width: int = 24,
    growth: int = 28,
    depths: Sequence[int] = DEPTHS,
    conv: Conv | None = None,
) -> DenseNet3d:
    """DenseNet of PmSCn; its plain form is densenet3d, whose arguments it takes.

    Args:
        streams: m.
        depth: n.
        conv: Another operator in place of every unit.
    """
    return densenet3d(
        in_channels=in_channels,
        num_classes=num_classes,
        width=width,
        growth=growth,
        depths=depths,
        conv=unit(streams, depth, conv),
    )


@register_models(
    {"psc_unet": {}},
    "UNet over volumes with a PmSCn unit for the two convolutions of a level",
    "PmSCn, arXiv:1809.04096, Sec 4.3",
    (1, 1, 64, 64, 64),
)
def psc_unet(
    *,
    streams: int = 2,
    depth: int = 2,
    in_channels: int = 1,
    num_classes: int = 3,
    widths: Sequence[int] = (64, 128, 256, 512),
    conv: Conv | None = None,
    keep_depth: int = 0,
) -> UNet:
    """UNet of PmSCn; its plain form is unet3d with skip="full", narrow=True and these widths.

    Args:
        streams: m.
        depth: n; a level holds two units of one 2D convolution, or one of more.
        conv: Another operator in place of every unit.
        keep_depth: How many of the first pools leave the depth alone.
    """
    return unet(
        3,
        in_channels=in_channels,
        num_classes=num_classes,
        widths=widths,
        conv=unit(streams, depth, conv),
        convs=1 if depth > 1 else 2,
        skip="full",
        narrow=True,
        keep_depth=keep_depth,
    )
