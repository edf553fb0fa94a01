"""Pools whose windows are clipped to thinner volumes, and reduce the voxels there are.

So networks that halve with pools accept a single slice, though in 2D they accept no image of one
row.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.ops.leaf import Leaf
from lean3d.ops.recorded import holds
from lean3d.shape import Triple, sizes, triple

__all__ = ["AvgPool3d", "MaxPool3d", "PowerPool3d"]

ALONG = {"padding": 0, "dilation": 1}  # attributes that a pool may lack, and their defaults


def _clipped(pool: Any, x_BCDHW: Tensor) -> Any:
    """Return the window, clipped to thinner volumes.

    A trace depends on the depth. A program exported for many depths has the whole window and
    refuses thinner volumes, as torch's pools do; so does an ONNX file of a thicker example.
    """
    window = triple(pool.kernel_size)
    pad, step = (triple(getattr(pool, name, other))[0] for name, other in ALONG.items())
    if 2 * pad // step + 1 >= window[0]:
        return window
    for_onnx = torch.jit.is_tracing() and torch.onnx.is_in_onnx_export()
    depth = sizes(x_BCDHW)[-3] if for_onnx else x_BCDHW.shape[-3]
    reach: Any = (depth + 2 * pad - 1) // step + 1
    if isinstance(reach, Tensor):
        return (reach.clamp(max=window[0]), *window[1:])
    thin = reach < window[0] if for_onnx else holds(reach < window[0])
    return (reach, *window[1:]) if thin else window


class MaxPool3d(Leaf, nn.MaxPool3d):
    """nn.MaxPool3d whose window is clipped to thinner volumes.

    Shape: (B, C, D, H, W) -> (B, C, D', H', W'), the sizes nn.MaxPool3d would give, and at least
    D' = 1 where it would refuse.
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        window, rest = _clipped(self, x_BCDHW), (self.padding, self.dilation, self.ceil_mode)
        return F.max_pool3d(x_BCDHW, window, self.stride, *rest)


class AvgPool3d(Leaf, nn.AvgPool3d):
    """nn.AvgPool3d whose window is clipped to thinner volumes.

    It also takes maps smaller than its window, as nn.AvgPool2d does: with padding or ceil_mode they
    have an output, which torch refuses to compute in 3D.

    Shape: (B, C, D, H, W) -> (B, C, D', H', W'), the sizes nn.AvgPool3d would give, and
    D' = 1 where it would refuse.
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        window, divisor = _clipped(self, x_BCDHW), self.divisor_override
        if divisor is not None:
            divisor = divisor * window[0] // triple(self.kernel_size)[0]
        has_more = self.ceil_mode or any(triple(self.padding))
        both = zip(x_BCDHW.shape[-3:], window, strict=True)
        if has_more and not all(holds(size >= own) for size, own in both):
            return self._one_axis_after_the_other(x_BCDHW, window, divisor)
        rest = (self.ceil_mode, self.count_include_pad, divisor)
        return F.avg_pool3d(x_BCDHW, window, self.stride, self.padding, *rest)

    def _one_axis_after_the_other(
        self, x_BCDHW: Tensor, window: Triple, divisor: int | None
    ) -> Tensor:
        deep, *kernel = window
        (jump, *stride), (ahead, *pad) = triple(self.stride), triple(self.padding)
        rest = (self.ceil_mode, self.count_include_pad)
        y = F.avg_pool2d(x_BCDHW.flatten(0, -4), kernel, stride, pad, *rest, divisor)
        plane, once = y.shape[-2:], None if divisor is None else 1
        # with a batch: ONNX takes three axes for those of one dimension
        y = F.avg_pool2d(y.flatten(2)[:, None], (deep, 1), (jump, 1), (ahead, 0), *rest, once)
        return y.view(*x_BCDHW.shape[:-3], y.shape[2], *plane)


class PowerPool3d(Leaf, nn.LPPool3d):
    """Power-average pool on the scale of nn.LPPool2d: depth is averaged, not summed.

    Its window is clipped to thinner volumes.
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        window = _clipped(self, x_BCDHW)
        y = F.lp_pool3d(x_BCDHW, float(self.norm_type), window, self.stride, self.ceil_mode)
        return y * window[0] ** (-1 / self.norm_type)
