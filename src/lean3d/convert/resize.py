"""Upsampling modules: depth grows as height does, or not at all where depth is kept."""

from typing import Any

from torch import nn

from lean3d.convert.geometry import isotropic, pair
from lean3d.convert.lift import Lift, Site
from lean3d.convert.rules import rule

__all__: list[str] = []

MODES = {"nearest": "nearest", "nearest-exact": "nearest-exact", "bilinear": "trilinear"}


@rule(Lift, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d)
def upsample(up: nn.Upsample, site: Site) -> nn.Module:
    if up.mode not in MODES:
        raise site.refuse(up, f"mode {up.mode!r} has no 3D form; use {', '.join(MODES)}")
    return nn.Upsample(
        **_size(up, site),
        mode=MODES[up.mode],
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
