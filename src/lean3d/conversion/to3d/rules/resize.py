"""Upsampling: depth grows as height does, or stays the same if depth is kept."""

from typing import Any

from torch import nn

from lean3d.conversion.to3d.base import Site, To3D
from lean3d.conversion.to3d.geometry import isotropic, pair
from lean3d.conversion.to3d.rules.registry import module_rule
from lean3d.ops.resize import MODES, PlaneThenDepth

__all__: list[str] = []


@module_rule(To3D, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d)
def upsample(up: nn.Upsample, site: Site) -> nn.Module:
    kind = nn.Upsample if up.mode in MODES else PlaneThenDepth
    return kind(
        **_size(up, site),
        mode=MODES.get(up.mode, up.mode),
        align_corners=up.align_corners,
        recompute_scale_factor=up.recompute_scale_factor,
    )


def _size(up: nn.Upsample, site: Site) -> dict[str, Any]:
    if not site.keep:
        name = "size" if up.size is not None else "scale_factor"
        return {name: isotropic(getattr(up, name))}
    if up.size is not None:
        raise site.refuse(up, "with a fixed size its depth cannot be kept; give it scale_factor")
    return dict(scale_factor=(1, *pair(up.scale_factor)))
