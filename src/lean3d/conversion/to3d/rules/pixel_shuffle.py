"""Pixel shuffles, on the plane of the method."""

from torch import nn

from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.conversion.to3d.rules.registry import module_rule
from lean3d.ops.pixel_shuffle import PlanarPixelShuffle, PlanarPixelUnshuffle

__all__: list[str] = []


@module_rule(To3D, nn.PixelShuffle)
def pixel_shuffle(module: nn.PixelShuffle, site: Site) -> Converted:
    factor, axis = module.upscale_factor, site.how.plane_axis
    return Converted(PlanarPixelShuffle(factor, 1 if site.keep else factor, axis), exact=axis == 0)


@module_rule(To3D, nn.PixelUnshuffle)
def pixel_unshuffle(module: nn.PixelUnshuffle, site: Site) -> Converted:
    factor, axis = module.downscale_factor, site.how.plane_axis
    module_3d = PlanarPixelUnshuffle(factor, 1 if site.keep else factor, axis)
    return Converted(module_3d, exact=axis == 0)
