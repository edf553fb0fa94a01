"""Pools: the window along depth is that along height, or one voxel if depth is kept."""

from typing import Any

from torch import nn

from lean3d.conversion.to3d.base import Site, To3D
from lean3d.conversion.to3d.geometry import isotropic, pair
from lean3d.conversion.to3d.rules.registry import module_rule
from lean3d.ops.pools import AvgPool3d, MaxPool3d, PowerPool3d

__all__: list[str] = []


@module_rule(To3D, nn.MaxPool2d)
def max_pool(pool: nn.MaxPool2d, site: Site) -> nn.Module:
    _refuse_indices(pool, site)
    window = _window(pool, site, dilation=pool.dilation)
    return MaxPool3d(**window, ceil_mode=pool.ceil_mode)


@module_rule(To3D, nn.AvgPool2d)
def avg_pool(pool: nn.AvgPool2d, site: Site) -> nn.Module:
    window = _window(pool, site)
    divisor = pool.divisor_override
    if divisor is not None and pool.ceil_mode:
        raise site.refuse(
            pool, "with divisor_override and ceil_mode its last windows differ in depth"
        )
    return AvgPool3d(
        **window,
        ceil_mode=pool.ceil_mode,
        count_include_pad=pool.count_include_pad,
        divisor_override=None if divisor is None else divisor * window["kernel_size"][0],
    )


@module_rule(To3D, nn.LPPool2d)
def power_pool(pool: nn.LPPool2d, site: Site) -> nn.Module:
    window = _window(pool, site)
    return PowerPool3d(pool.norm_type, **window, ceil_mode=pool.ceil_mode)


@module_rule(To3D, nn.AdaptiveAvgPool2d)
def adaptive_avg_pool(pool: nn.AdaptiveAvgPool2d, site: Site) -> nn.Module:
    return nn.AdaptiveAvgPool3d(isotropic(pool.output_size))


@module_rule(To3D, nn.AdaptiveMaxPool2d)
def adaptive_max_pool(pool: nn.AdaptiveMaxPool2d, site: Site) -> nn.Module:
    _refuse_indices(pool, site)
    return nn.AdaptiveMaxPool3d(isotropic(pool.output_size))


def _refuse_indices(pool: Any, site: Site) -> None:
    if pool.return_indices:
        raise site.refuse(pool, "it returns positions in a 2D image (return_indices=True)")


def _window(pool: Any, site: Site, **more: object) -> dict[str, Any]:
    """Return kernel, stride and so on along (D, H, W)."""
    stride = pool.kernel_size if pool.stride is None else pool.stride
    values = dict(kernel_size=pool.kernel_size, stride=stride, **more)
    if hasattr(pool, "padding"):
        values["padding"] = pool.padding
    if not site.keep:
        return {name: isotropic(value) for name, value in values.items()}
    alone = dict(kernel_size=1, stride=1, dilation=1, padding=0)
    return {name: (alone[name], *pair(value)) for name, value in values.items()}
