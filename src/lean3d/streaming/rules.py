"""Rules of temporal functions in a step of a delayed network; here convolutions and pools.

Axes: B batch, C channels, T time, H height, W width.
"""

from math import inf, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.ops import fast
from lean3d.shape import triple
from lean3d.streaming.axes import AXES
from lean3d.streaming.delayed_step import Frames, Rule, frames_of, marked
from lean3d.streaming.growth import GROWTH
from lean3d.streaming.layout import Length
from lean3d.streaming.pooling import maximum, mean, over_time
from lean3d.streaming.products import PRODUCTS
from lean3d.streaming.recurrent import RECURRENT
from lean3d.streaming.reductions import ADAPTIVE, REDUCTIONS
from lean3d.streaming.slices import PADS, SLICES
from lean3d.streaming.timing import Window
from lean3d.streaming.writes import WRITES

__all__ = ["CALLS", "POOLED"]


def sides(padding: object, span: int) -> tuple[int, int]:
    """Return temporal padding, before and after."""
    if isinstance(padding, str):
        total = span - 1 if padding == "same" else 0
        return total // 2, total - total // 2
    amount = triple(padding)[0]
    return amount, amount


def conv3d(
    step: Frames,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: object = 1,
    padding: object = 0,
    dilation: object = 1,
    groups: int = 1,
) -> Tensor:
    step.plainly(x, F.conv3d)
    strides, dilations = triple(stride), triple(dilation)
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, weight.shape[2:], strict=True)]
    if isinstance(padding, str):
        if padding == "same" and any(span % 2 == 0 for span in spans[1:]):
            step.refuse(F.conv3d, "has an even kernel and padding='same'")
        pad = (0, *[span // 2 if padding == "same" else 0 for span in spans[1:]])
    else:
        pad = (0, *triple(padding)[1:])
    over = Window(spans[0], strides[0], *sides(padding, spans[0]))
    x, made = step.walk(x, over, 0.0)
    return marked(fast.conv3d(x, weight, bias, strides, triple(pad), dilations, groups), made)


def max_pool3d(
    step: Frames,
    x: Tensor,
    kernel_size: object,
    stride: object = None,
    padding: object = 0,
    dilation: object = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    given = step.plainly(x, F.max_pool3d)
    kernels, pads, dilations = triple(kernel_size), triple(padding), triple(dilation)
    strides = triple(stride or kernel_size)
    if of_all(kernel_size) and not (pads[0] or ceil_mode or return_indices):
        size = ((1, *kernels[1:]), (1, *strides[1:]), pads, dilations)
        return over_time(step, marked(F.max_pool3d(x, *size), given), maximum)
    span = dilations[0] * (kernels[0] - 1) + 1
    if return_indices or (ceil_mode and span < strides[0]):
        step.refuse(
            F.max_pool3d, "returns indices, or has ceil_mode=True with a stride that skips frames"
        )
    # with ceil_mode the last window may extend beyond the last frame
    over = Window(span, strides[0], pads[0], pads[0] + ceil_mode * (strides[0] - 1))
    x, made = step.walk(x, over, -torch.inf)
    pads = (0, pads[1], pads[2])
    if ceil_mode or dilations != (1, 1, 1):
        return marked(F.max_pool3d(x, kernels, strides, pads, dilations, ceil_mode), made)
    return marked(fast.max_pool3d(x, kernels, strides, pads), made)


def avg_pool3d(
    step: Frames,
    x: Tensor,
    kernel_size: object,
    stride: object = None,
    padding: object = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    given = step.plainly(x, F.avg_pool3d)
    kernels, pads = triple(kernel_size), triple(padding)
    strides = triple(stride or kernel_size)
    if of_all(kernel_size) and not (pads[0] or ceil_mode or divisor_override):
        plane = F.avg_pool3d(
            x, (1, *kernels[1:]), (1, *strides[1:]), pads, False, count_include_pad
        )
        return over_time(step, marked(plane, given), mean)
    if ceil_mode and (pads[0] or kernels[0] != strides[0] or divisor_override):
        step.refuse(
            F.avg_pool3d, "has ceil_mode=True with windows over time that overlap or skip frames"
        )
    # with ceil_mode, the last window is the mean of its frames, counted by a channel of ones;
    # so is the first if padding does not count
    uncounted = pads[0] > 0 and not count_include_pad and not divisor_override
    partial = kernels[0] > 1 and (ceil_mode or uncounted)
    if partial:
        x = marked(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), given)
    over = Window(kernels[0], strides[0], pads[0], pads[0] + ceil_mode * (kernels[0] - 1))
    x, made = step.walk(x, over)
    pads = (0, pads[1], pads[2])
    y = F.avg_pool3d(x, kernels, strides, pads, ceil_mode, count_include_pad, divisor_override)
    if partial:
        y = y[:, :-1] / y[:, -1:].clamp(min=0.5 / kernels[0])
    return marked(y, made)


def lp_pool3d(
    step: Frames,
    x: Tensor,
    norm_type: float,
    kernel_size: object,
    stride: object = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Run a power-average pool, in the terms in which torch computes it."""
    given = step.plainly(x, F.lp_pool3d)
    if norm_type in (inf, -inf):
        sign = 1 if norm_type > 0 else -1
        extreme = marked(x.abs() if sign == 1 else -x, given)
        y = max_pool3d(step, extreme, kernel_size, stride, ceil_mode=ceil_mode)
        return marked(sign * y, frames_of(y))  # type: ignore[arg-type]
    y = avg_pool3d(step, marked(x.pow(norm_type), given), kernel_size, stride, 0, ceil_mode)
    total = y * prod(triple(kernel_size))
    return marked(total.pow(1.0 / norm_type), frames_of(y))  # type: ignore[arg-type]


def of_all(kernel_size: Any) -> bool:
    """Whether a window spans all frames, with a size read from the map's shape."""
    if isinstance(kernel_size, int):
        return False
    return isinstance(kernel_size[0], Length) and kernel_size[0].whole


def conv1d(
    step: Frames,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: object = 1,
    padding: object = 0,
    dilation: object = 1,
    groups: int = 1,
) -> Tensor:
    step.plainly(x, F.conv1d)
    (by,), (apart,) = single(stride), single(dilation)
    span = apart * (weight.shape[2] - 1) + 1
    around = padding if isinstance(padding, str) else single(padding)[0]
    x, made = step.walk(x, Window(span, by, *sides(around, span)))
    return marked(F.conv1d(x, weight, bias, by, 0, apart, groups), made)


def single(value: Any) -> tuple[int]:
    return (value,) if isinstance(value, int) else (value[0],)


CALLS: dict[Any, Rule] = {
    F.conv1d: conv1d,
    F.conv3d: conv3d,
    fast.conv3d: conv3d,
    F.max_pool3d: max_pool3d,
    F.avg_pool3d: avg_pool3d,
    F.lp_pool3d: lp_pool3d,
    **ADAPTIVE,
    **AXES,
    **GROWTH,
    **PADS,
    **PRODUCTS,
    **RECURRENT,
    **REDUCTIONS,
    **SLICES,
    **WRITES,
}
# functions that also take tensors computed from all frames
POOLED: dict[Any, Rule] = {**AXES, **PADS, **REDUCTIONS, **SLICES}
