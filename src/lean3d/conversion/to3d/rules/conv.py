"""Convolutions: the operator of the method."""

from torch import nn

from lean3d.conversion.to3d.base import Lift, Lifted, Site
from lean3d.conversion.to3d.rules.registry import module_rule

__all__: list[str] = []


@module_rule(Lift, nn.Conv2d)
def conv2d(conv: nn.Conv2d, site: Site) -> Lifted:
    return site.how.conv(conv, site)


@module_rule(Lift, nn.ConvTranspose2d)
def conv_transpose2d(conv: nn.ConvTranspose2d, site: Site) -> Lifted:
    return site.how.transposed(conv, site)
