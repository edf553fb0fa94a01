"""Rules of functions that increase the number of frames, in a step of a delayed network.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.shape import triple
from lean3d.streaming.axes import listed
from lean3d.streaming.delayed_step import Frames, Rule, frames_of, marked
from lean3d.streaming.layout import placed
from lean3d.streaming.timing import Timed, Window, frames_apart

__all__ = ["GROWTH"]


def conv_transpose3d(
    step: Frames,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: object = 1,
    padding: object = 0,
    output_padding: object = 0,
    groups: int = 1,
    dilation: object = 1,
) -> Tensor:
    """Frame i of the input adds to the outputs from i * stride - padding on, as many as the kernel
    spans; so an output is delayed until the last input that adds to it is there."""
    strides, pads, more, dilations = map(triple, (stride, padding, output_padding, dilation))
    reach = dilations[0] * (weight.shape[2] - 1)
    given = step.plainly(x, F.conv_transpose3d)
    around = reach + more[0] + 1 - strides[0] - 2 * pads[0]
    extra = given.extra * strides[0] + around
    # outputs that the last frame of all would not have, such as the zeros of a kernel shorter than
    # its stride, are delayed until it is known not to be the last
    soonest = given.delay * strides[0] + pads[0]
    delay = max(soonest, -extra)
    # earlier inputs that add to the first output
    earlier = reach // strides[0] - (soonest - delay) // strides[0]
    x, _ = step.walk(x, Window(earlier + 1, 1, earlier, max(earlier, more[0])))
    lacking = max(0, strides[0] - 1 - reach)
    pad, add = (0, *pads[1:]), (lacking, *more[1:])
    y = F.conv_transpose3d(x, weight, bias, strides, pad, add, groups, dilations)
    rate, length = given.rate * strides[0], given.length
    if length is not None:
        length = torch.where(length > 0, length * strides[0] + around, 0).clamp(min=0)
    field = given.field + reach // strides[0] * frames_apart(given, step.clock.chunk)
    made = replace(given, delay=delay, rate=rate, field=field, length=length, extra=extra)
    return marked(y.narrow(2, earlier * strides[0] + soonest - delay, rate), made)


def interpolate(
    step: Frames,
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    given = step.plainly(x, F.interpolate)
    times = times_as_many(x, size, scale_factor)
    options: Any = dict(mode=mode, align_corners=align_corners, antialias=antialias)
    options["recompute_scale_factor"] = recompute_scale_factor
    whole = mode.startswith("nearest") or mode == "area"
    if times > 1 and align_corners:
        step.refuse(
            F.interpolate,
            "resizes time with align_corners=True, which depends on the length of the video",
        )
    if not times or (times > 1 and antialias):
        step.refuse(F.interpolate, "resizes time by a factor that is not a whole number")
    if times == 1 or whole:
        return marked(F.interpolate(x, size, scale_factor, **options), given.repeated(times))
    # between two frames; before the first and after the last, those
    x, made = step.walk(x, Window(3, 1, 1, 1, repeats=True))
    if size is not None:
        planes = [size] * (x.ndim - 3) if isinstance(size, int) else list(size)[1:]
        size = [x.shape[2] * times, *planes]
    y = F.interpolate(x, size, scale_factor, **options)
    made = made.repeated(times)
    return marked(y.narrow(2, times, made.rate), made)


def times_as_many(x: Tensor, size: Any, scale_factor: Any) -> int:
    """Return the factor of the number of frames; 0 if that is no whole number."""
    if size is not None:
        frames = size if isinstance(size, int) else size[0]
        times, rest = divmod(int(frames), x.shape[2])
        return 0 if rest else times
    factor = scale_factor if isinstance(scale_factor, int | float) else scale_factor[0]
    return int(factor) if factor == int(factor) else 0


def repeat_interleave(
    step: Frames, x: Tensor, repeats: object, dim: int | None = None, **more: object
) -> Tensor:
    given: Any = frames_of(x)
    if not isinstance(repeats, int) or dim is None or dim % x.ndim == given.batch:
        step.refuse(
            torch.repeat_interleave, "repeats streams, or some frames more often than others"
        )
    y = x.repeat_interleave(repeats, dim)
    if dim is None or dim % x.ndim != given.axis:
        return marked(y, given)
    if given.each != 1:
        step.refuse(torch.repeat_interleave, "repeats parts of frames")
    return marked(y, given.repeated(repeats))


def repeat(step: Frames, x: Tensor, *repeats: object, **named: object) -> Tensor:
    """Repeat along any axis but those of streams and frames."""
    given: Any = frames_of(x)
    times = listed(repeats or tuple(named.values()))
    more = len(times) - x.ndim
    held = [given.batch, given.axis] if isinstance(given, Timed) else [given.batch]
    if more < 0 or any(times[more + axis] != 1 for axis in held):
        step.refuse(Tensor.repeat, "repeats streams, or the whole video")
    return marked(x.repeat(times), placed(given, lambda axis: axis + more))


GROWTH: dict[Any, Rule] = {
    F.conv_transpose3d: conv_transpose3d,
    F.interpolate: interpolate,
    Tensor.repeat: repeat,
    **dict.fromkeys((torch.repeat_interleave, Tensor.repeat_interleave), repeat_interleave),
}
