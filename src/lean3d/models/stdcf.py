"""The networks of STDCF: kernels mixed from a few spatial and temporal atoms.

Paper: Miao et al., Spatiotemporal Joint Filter Decomposition in 3D Convolutional Neural Networks
(STDCF), NeurIPS 2021, Sec 3.1 and 3.2
Differs from the paper: no known differences. Its Tables B and C, which give the layers, are in a
supplement: ResNet-50 has the 3x7x7 stem and no temporal stride, which gives multiply-adds within
1.4% of the published ones; the KTH network has 16, 64 and 64 channels and pools of 2, with which
its rank-1 form takes 122.8 MB more than the regular one, as in Table 2.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import nn

from lean3d.models.blocks import (
    WIDTHS,
    Conv,
    Residual,
    VideoResNet,
    bottleneck,
    initialise,
    normed,
    stages,
    stem,
)
from lean3d.models.light import Chain, classifier
from lean3d.models.registry import register_models
from lean3d.ops import AtomConv3d, SpaceTimeConv3d

__all__ = ["ATOMS", "kth", "stdcf_resnet50"]

# the paper's choice for ResNet-50 (Sec 3.2.1)
ATOMS = partial(AtomConv3d, spatial=6, temporal=2)
FORMS: dict[str, Conv] = {
    "regular": nn.Conv3d,
    "rank1": partial(SpaceTimeConv3d, form="rank1"),
    "stdcf": ATOMS,
}


@register_models(
    {"stdcf_resnet50": {}},
    "ResNet-50 whose 3x3 become 3x3x3 of 6 spatial and 2 temporal atoms",
    "STDCF, NeurIPS 2021, Sec 3.2",
    (1, 3, 8, 224, 224),
)
def stdcf_resnet50(
    *,
    in_channels: int = 3,
    num_classes: int = 400,
    widths: Sequence[int] = WIDTHS,
    conv: Conv = ATOMS,
) -> VideoResNet:
    """STDCF-R50; with conv=nn.Conv3d the 3D-R50 it starts from. Time is never strided.

    Args:
        conv: The operator of every 3x3x3 kernel.
    """

    def block(in_channels: int, channels: int, stride: int) -> Residual:
        return bottleneck(in_channels, channels, (1, stride, stride), conv=conv)

    return VideoResNet(
        stem(in_channels, widths[0], pool=True),
        stages([block] * 4, (3, 4, 6, 3), widths, 4),
        in_channels=in_channels,
        features=widths[-1] * 4,
        num_classes=num_classes,
    )


@register_models(
    {f"kth_{form}": dict(form=form) for form in FORMS},
    "Three-layer network for the KTH actions, {form} kernels",
    "STDCF, NeurIPS 2021, Sec 3.1",
    (1, 1, 16, 60, 80),
)
def kth(
    form: Literal["regular", "rank1", "stdcf"],
    *,
    in_channels: int = 1,
    num_classes: int = 6,
    widths: Sequence[int] = (16, 64, 64),
    conv: Conv | None = None,
) -> Chain:
    """Three times a 3x3x3 operator, batch norm, ReLU and a pool of 2; then one linear layer.

    Args:
        conv: Another operator in place of the form's own.
    """
    layers, channels = [], in_channels
    for width in widths:
        operator = (conv or FORMS[form])(channels, width, 3, padding=1, bias=False)
        layers.append(normed(operator, width).append(nn.MaxPool3d(2, ceil_mode=True)))
        channels = width
    features = {"features": nn.Sequential(*layers)}
    model = Chain(in_channels, features | classifier(channels, num_classes, dropout=0))
    initialise(model)
    return model
