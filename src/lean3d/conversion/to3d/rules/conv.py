"""Convolutions: the operator of the method."""

from torch import nn

from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.conversion.to3d.rules.registry import module_rule

__all__: list[str] = []


@module_rule(To3D, nn.Conv2d)
def conv2d(conv: nn.Conv2d, site: Site) -> Converted:
    return site.how.conv(conv, site)


@module_rule(To3D, nn.ConvTranspose2d)
def conv_transpose2d(conv: nn.ConvTranspose2d, site: Site) -> Converted:
    return site.how.transposed(conv, site)
