"""Pools: the window along depth is that along height, or one voxel where depth is kept.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.convert.geometry import isotropic, pair
from lean3d.convert.lift import Lift, Site
from lean3d.convert.rules import rule
from lean3d.shape import triple

__all__ = ["AvgPool3d", "PowerPool3d"]


class AvgPool3d(nn.AvgPool3d):
    """nn.AvgPool3d that takes maps smaller than its window, as nn.AvgPool2d does.

    With padding or ceil_mode such maps have an answer, which torch refuses to compute in 3D. Thin
    volumes get there soon.

    Shape: (B, C, D, H, W) -> (B, C, D', H', W'), the sizes nn.AvgPool3d would give.
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        window = triple(self.kernel_size)
        if all(size >= own for size, own in zip(x_BCDHW.shape[-3:], window, strict=True)):
            return super().forward(x_BCDHW)
        return self._one_axis_after_the_other(x_BCDHW)

    def _one_axis_after_the_other(self, x_BCDHW: Tensor) -> Tensor:
        (deep, *kernel), (jump, *stride), (ahead, *pad) = map(
            triple, (self.kernel_size, self.stride, self.padding)
        )
        rest = (self.ceil_mode, self.count_include_pad)
        divisor = self.divisor_override
        y = F.avg_pool2d(x_BCDHW.flatten(0, -4), kernel, stride, pad, *rest, divisor)
        plane, once = y.shape[-2:], None if divisor is None else 1
        y = F.avg_pool2d(y.flatten(2), (deep, 1), (jump, 1), (ahead, 0), *rest, once)
        return y.view(*x_BCDHW.shape[:-3], y.shape[1], *plane)


class PowerPool3d(nn.LPPool3d):
    """Power-average pool on the scale of nn.LPPool2d: depth is averaged, not summed."""

    @property
    def depth(self) -> float:
        size = self.kernel_size
        return float(size if isinstance(size, int) else size[0])

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        return super().forward(x_BCDHW) * self.depth ** (-1 / self.norm_type)


@rule(Lift, nn.MaxPool2d)
def max_pool(pool: nn.MaxPool2d, site: Site) -> nn.Module:
    _refuse_indices(pool, site)
    window = _window(pool, site, dilation=pool.dilation)
    return nn.MaxPool3d(**window, ceil_mode=pool.ceil_mode)


@rule(Lift, nn.AvgPool2d)
def avg_pool(pool: nn.AvgPool2d, site: Site) -> nn.Module:
    window = _window(pool, site)
    divisor = pool.divisor_override
    if divisor is not None and pool.ceil_mode:
        raise site.refuse(
            pool, "with divisor_override and ceil_mode its last windows differ in depth"
        )
    padded = max(window["padding"]) > 0
    kind = AvgPool3d if padded or pool.ceil_mode else nn.AvgPool3d
    return kind(
        **window,
        ceil_mode=pool.ceil_mode,
        count_include_pad=pool.count_include_pad,
        divisor_override=None if divisor is None else divisor * window["kernel_size"][0],
    )


@rule(Lift, nn.LPPool2d)
def power_pool(pool: nn.LPPool2d, site: Site) -> nn.Module:
    window = _window(pool, site)
    return PowerPool3d(pool.norm_type, **window, ceil_mode=pool.ceil_mode)


@rule(Lift, nn.AdaptiveAvgPool2d)
def adaptive_avg_pool(pool: nn.AdaptiveAvgPool2d, site: Site) -> nn.Module:
    return nn.AdaptiveAvgPool3d(isotropic(pool.output_size))


@rule(Lift, nn.AdaptiveMaxPool2d)
def adaptive_max_pool(pool: nn.AdaptiveMaxPool2d, site: Site) -> nn.Module:
    _refuse_indices(pool, site)
    return nn.AdaptiveMaxPool3d(isotropic(pool.output_size))


def _refuse_indices(pool: Any, site: Site) -> None:
    if pool.return_indices:
        raise site.refuse(pool, "it returns positions in a 2D image (return_indices=True)")


def _window(pool: Any, site: Site, **more: Any) -> dict[str, Any]:
    """Kernel, stride and so on along (D, H, W)."""
    stride = pool.kernel_size if pool.stride is None else pool.stride
    values = dict(kernel_size=pool.kernel_size, stride=stride, **more)
    if hasattr(pool, "padding"):
        values["padding"] = pool.padding
    if not site.keep:
        return {name: isotropic(value) for name, value in values.items()}
    alone = dict(kernel_size=1, stride=1, dilation=1, padding=0)
    return {name: (alone[name], *pair(value)) for name, value in values.items()}
