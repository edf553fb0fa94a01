"""What convolutions, pools, means and slices mean in a step of a network that waits.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.ops import fast
from lean3d.shape import triple
from lean3d.stream.clock import Pooled, Timed, Window
from lean3d.stream.frames import Frames, frames_of, marked

__all__ = ["CALLS"]


def known(x: Tensor) -> Timed | Pooled:
    frames = frames_of(x)
    assert frames is not None
    return frames


def sides(padding: Any, span: int) -> tuple[int, int]:
    """Padding in time, before and after."""
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
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
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
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    kernels, pads, dilations = triple(kernel_size), triple(padding), triple(dilation)
    strides = triple(stride or kernel_size)
    span = dilations[0] * (kernels[0] - 1) + 1
    if return_indices or (ceil_mode and span < strides[0]):
        step.refuse(F.max_pool3d, "returns indices, or rounds up a stride that skips frames")
    # rounding up lets the last window go on beyond the last frame
    over = Window(span, strides[0], pads[0], pads[0] + ceil_mode * (strides[0] - 1))
    x, made = step.walk(x, over, -torch.inf)
    pads = (0, pads[1], pads[2])
    if ceil_mode or dilations != (1, 1, 1):
        return marked(F.max_pool3d(x, kernels, strides, pads, dilations, ceil_mode), made)
    return marked(fast.max_pool3d(x, kernels, strides, pads), made)


def avg_pool3d(
    step: Frames,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    kernels, pads = triple(kernel_size), triple(padding)
    strides = triple(stride or kernel_size)
    if divisor_override is not None or (pads[0] and not count_include_pad):
        step.refuse(F.avg_pool3d, "has a divisor, or padding in time that does not count")
    if ceil_mode and (pads[0] or kernels[0] != strides[0]):
        step.refuse(F.avg_pool3d, "rounds up windows over time that overlap or skip frames")
    # rounding up, the last window is the mean of the frames it has, which a channel of ones counts
    partial = ceil_mode and kernels[0] > 1
    if partial:
        x = marked(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), known(x))
    over = Window(kernels[0], strides[0], pads[0], pads[0] + partial * (kernels[0] - 1))
    x, made = step.walk(x, over, 0.0)
    pads = (0, pads[1], pads[2])
    y = F.avg_pool3d(x, kernels, strides, pads, ceil_mode, count_include_pad)
    if partial:
        y = y[:, :-1] / y[:, -1:].clamp(min=0.5 / kernels[0])
    return marked(y, made)


def adaptive_avg_pool3d(step: Frames, x: Tensor, output_size: Any) -> Tensor:
    size = [output_size] * 3 if isinstance(output_size, int) else list(output_size)
    if size[0] not in (None, 1):
        step.refuse(F.adaptive_avg_pool3d, f"makes {size[0]} frames of all")
    plane = marked(F.adaptive_avg_pool3d(x, (x.shape[2], size[1], size[2])), known(x))
    if size[0] is None:
        return plane
    mean = step.average(plane)
    return marked(mean.unsqueeze(2), known(mean))


def mean(step: Frames, x: Tensor, dim: Any = None, keepdim: bool = False, **more: Any) -> Tensor:
    axes = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    over = sorted({axis % x.ndim for axis in axes})
    if 0 in over or 1 in over or more.get("dtype") is not None:
        step.refuse(torch.mean, "is over streams or channels")
    planes = [axis for axis in over if axis > 2]
    x = marked(x.mean(planes, keepdim=True) if planes else x, known(x))
    result = x if 2 not in over else step.average(x)
    frames = known(result)
    result = result.unsqueeze(2) if 2 in over else result
    if not keepdim:
        result = result.squeeze(over)
    return marked(result, frames)


def cat(step: Frames, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    if dim % tensors[0].ndim in (0, 2):
        step.refuse(torch.cat, "is along streams or time")
    joined, same = step.aligned(tensors, torch.cat)
    return marked(torch.cat(joined, dim), same)


def index(step: Frames, x: Tensor, key: Any) -> Tensor:
    parts = key if isinstance(key, tuple) else (key,)
    if any(part is Ellipsis or not isinstance(part, slice) for part in parts):
        step.refuse(Tensor.__getitem__, "takes more than slices")
    time = parts[2] if len(parts) > 2 else slice(None)
    if parts[0] != slice(None) or (time.start, time.stop) != (None, None):
        step.refuse(Tensor.__getitem__, "takes some streams or some frames")
    x, made = step.walk(x, Window(1, time.step or 1), 0.0)
    return marked(x[key], made)


def pad(
    step: Frames, x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    time, made = tuple(pad[4:6]), known(x)
    if any(time):
        if mode != "constant" or min(time) < 0:
            step.refuse(F.pad, f"puts {time} frames around time by mode={mode!r}")
        x, made = step.walk(x, Window(1, 1, *time), value or 0.0)
    within = [*pad[:4], *[0 for _ in time], *pad[6:]]
    return marked(F.pad(x, within, mode, value), made)


def interpolate(
    step: Frames,
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    *more: Any,
    **options: Any,
) -> Tensor:
    y = F.interpolate(x, size, scale_factor, mode, *more, **options)
    times, rest = divmod(y.shape[2], x.shape[2])
    if rest or not times or (times > 1 and not mode.startswith("nearest")):
        step.refuse(F.interpolate, "resizes time other than by repeating every frame")
    frames = known(x)
    return marked(y, frames.repeated(times) if isinstance(frames, Timed) else frames)


CALLS: dict[Any, Callable[..., Tensor]] = {
    F.conv3d: conv3d,
    fast.conv3d: conv3d,
    F.max_pool3d: max_pool3d,
    F.avg_pool3d: avg_pool3d,
    F.adaptive_avg_pool3d: adaptive_avg_pool3d,
    F.interpolate: interpolate,
    F.pad: pad,
    torch.mean: mean,
    Tensor.mean: mean,
    torch.cat: cat,
    torch.concat: cat,
    torch.concatenate: cat,
    Tensor.__getitem__: index,
}
