"""Rules for modules of the model zoos whose own forward cannot be converted.

They are registered by name, so that no zoo need be installed.
"""

from typing import Any

from torch import nn

from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.conversion.to3d.rules.registry import module_rule
from lean3d.ops.layout import MoveChannels
from lean3d.ops.pixel_shuffle import PlanarSpaceToDepth

__all__: list[str] = []


@module_rule(To3D, "torchvision.ops.misc.Permute")
def permute(module: Any, site: Site) -> nn.Module:
    dims = tuple(module.dims)
    if dims not in ((0, 2, 3, 1), (0, 3, 1, 2)):
        raise site.refuse(module, f"it orders the axes of an image as {dims}")
    return MoveChannels(last=dims == (0, 2, 3, 1))


@module_rule(To3D, "timm.layers.space_to_depth.SpaceToDepth")
def space_to_depth(module: Any, site: Site) -> Converted:
    axis = site.how.plane_axis
    return Converted(PlanarSpaceToDepth(module.bs, 1 if site.keep else module.bs, axis), axis == 0)
