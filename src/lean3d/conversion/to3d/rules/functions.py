"""3D rules of the convolution, pooling, interpolation and crop functions.

Axes: B batch, C channels, D depth, H height, W width.
"""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.conversion.to3d.geometry import every_axis, pair
from lean3d.conversion.to3d.merged.call import Call, Same, function_rule, static
from lean3d.conversion.to3d.merged.sides import Side, along_depth, carries, plain
from lean3d.conversion.trace.trial_run import in_trial
from lean3d.errors import ConversionError
from lean3d.ops.kernel import KernelConv3d
from lean3d.ops.resize import resize
from lean3d.shape import sizes

__all__: list[str] = []

# a window as large as the plane: x.shape[2:] as a kernel covers all voxels
OVER_ALL: dict[Any, Any] = {
    nn.AvgPool2d: nn.AdaptiveAvgPool2d,
    nn.MaxPool2d: nn.AdaptiveMaxPool2d,
}
BOTH = ([2, 3], [-2, -1])


@function_rule(F.conv2d)
def conv2d(call: Call) -> Tensor:
    given = call.read(
        "input weight bias stride padding dilation groups",
        bias=None, stride=1, padding=0, dilation=1, groups=1,
    )  # fmt: skip
    weight, bias, groups = given["weight"], given["bias"], given["groups"]
    settings = {name: static(given[name]) for name in ("stride", "padding", "dilation", "groups")}
    outputs, inputs, *kernel = sizes(weight)
    channels = (inputs * groups, outputs)
    like: Any = dict(device="meta", bias=bias is not None)
    module = call.module_3d(nn.Conv2d, *channels, tuple(kernel), **settings, **like)
    x = _padded(call, given["input"], kernel, given["stride"], given["dilation"], 0.0)
    weights = call.merge.how.weights(module, weight, call.module)
    if isinstance(module, KernelConv3d) and not module._forward_pre_hooks and len(weights) == 1:
        return call.stack.merge_depth(module._conv_forward(x, weights["weight"], bias))
    weights |= {} if bias is None else {"bias": bias}
    return call.stack.merge_depth(torch.func.functional_call(module, weights, (x,)))


@function_rule(F.conv_transpose2d)
def conv_transpose2d(call: Call) -> Tensor:
    given = call.read(
        "input weight bias stride padding output_padding groups dilation",
        bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1,
    )  # fmt: skip
    weight, bias, groups = given["weight"], given["bias"], given["groups"]
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    settings = {name: static(given[name]) for name in names}
    inputs, outputs, *kernel = sizes(weight)
    channels = (inputs, outputs * groups)
    like: Any = dict(device="meta", bias=bias is not None)
    module = call.module_3d(nn.ConvTranspose2d, *channels, tuple(kernel), **settings, **like)
    if module.weight.ndim == 5 and weight.ndim == 4:
        raise ConversionError(
            f"{type(call.module).__name__}: F.conv_transpose2d with a computed kernel cannot be "
            "inflated; use ACS() or Planar()"
        )
    weights = call.merge.how.weights(module, weight, call.module) | dict(bias=bias)
    weights = {name: value for name, value in weights.items() if value is not None}
    return call.stack.merge_depth(
        torch.func.functional_call(module, weights, (call.volume(given["input"]),))
    )


def _padded(
    call: Call, x: Tensor, kernel: object, stride: object, dilation: object, beyond: float
) -> Tensor:
    """Return the volume that a window reads, with depth padded as height if that is by "same"."""
    x_BCDHW = call.volume(x)
    if not call.same:
        return x_BCDHW
    tall, step, apart = (pair(size)[0] for size in (kernel, stride, dilation))
    window = Same(tall, step, apart, beyond)
    return call.stack.padded_for(window.one_deep if call.keep else window, x, x_BCDHW)


@function_rule(torch.max_pool2d, F.max_pool2d)
def max_pool2d(call: Call) -> Tensor:
    given = call.read(
        "input kernel_size stride padding dilation ceil_mode",
        stride=None, padding=0, dilation=1, ceil_mode=False,
    )  # fmt: skip
    return _pool(call, nn.MaxPool2d, given, -math.inf)


@function_rule(F.avg_pool2d)
def avg_pool2d(call: Call) -> Tensor:
    given = call.read(
        "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
        stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None,
    )  # fmt: skip
    return _pool(call, nn.AvgPool2d, given, 0.0)


@function_rule(F.lp_pool2d)
def lp_pool2d(call: Call) -> Tensor:
    given = call.read("input norm_type kernel_size stride ceil_mode", stride=None, ceil_mode=False)
    return _pool(call, nn.LPPool2d, given, 0.0)


def _pool(call: Call, kind: Any, given: dict[str, Any], beyond: float) -> Tensor:
    merged = given.pop("input")
    x = call.volume(merged)
    given.pop("return_indices", None)
    settings = {name: static(value) for name, value in given.items()}
    settings["stride"] = settings["stride"] or settings["kernel_size"]
    if settings["kernel_size"] == tuple(x.shape[3:]) and kind in OVER_ALL:
        return call.stack.merge_depth(call.module_3d(OVER_ALL[kind], 1)(x))
    kernel, stride = settings["kernel_size"], settings["stride"]
    x = _padded(call, merged, kernel, stride, settings.get("dilation", 1), beyond)
    return call.stack.merge_depth(call.module_3d(kind, **settings)(x))


@function_rule(F.adaptive_avg_pool2d, F.adaptive_max_pool2d, neighbours=False)
def adaptive_pool2d(call: Call) -> Tensor:
    given = call.read("input output_size")
    average = call.function is F.adaptive_avg_pool2d
    kind = nn.AdaptiveAvgPool2d if average else nn.AdaptiveMaxPool2d
    module = call.module_3d(kind, static(given["output_size"]))
    return call.stack.merge_depth(module(call.volume(given["input"])))


@function_rule(F.interpolate)
def interpolate(call: Call) -> Tensor:
    given = call.read(
        "input size scale_factor mode align_corners recompute_scale_factor antialias",
        size=None, scale_factor=None, mode="nearest", align_corners=None,
        recompute_scale_factor=None, antialias=False,
    )  # fmt: skip
    x = call.volume(given.pop("input"))
    size, scale = given.pop("size"), given.pop("scale_factor")
    if size is not None:
        height, width = pair(size)
        guess = partial(_depth_for, call, x, plain(height), plain(width))
        if isinstance(height, Side) and (height.whole or not call.keep):
            depth = call.carried(height.depth, guess)
        else:
            depth = guess()
        size = (depth, plain(height), plain(width))
    else:
        tall, wide = pair(scale)
        scale = (1.0 if call.keep else tall, tall, wide)
    return call.stack.merge_depth(resize(x, size, scale, **given))


def _depth_for(call: Call, x_BCDHW: Tensor, height: int, width: int) -> int:
    known = call.stack.depth_of(height, width)
    if known is not None:
        return known
    depth = x_BCDHW.shape[2]
    return depth if call.keep else max(round(depth * height / x_BCDHW.shape[3]), 1)


@function_rule(F.pixel_shuffle, F.pixel_unshuffle)
def pixel_shuffle(call: Call) -> Tensor:
    kind = nn.PixelShuffle if call.function is F.pixel_shuffle else nn.PixelUnshuffle
    given = call.read("input factor")
    x = given.pop("input")
    return call.stack.merge_depth(call.module_3d(kind, *given.values())(call.volume(x)))


@function_rule(
    F.group_norm, F.instance_norm, F.dropout2d, F.feature_alpha_dropout, neighbours=False
)
def over_the_volume(call: Call) -> Tensor:
    """Rule of functions that take any number of axes and use all voxels of a sample."""
    name = next(iter(call.kwargs.keys() & {"input"}), None)
    x = call.kwargs[name] if name else call.args[0]
    function = F.dropout3d if call.function is F.dropout2d else call.function
    if name:
        return call.stack.merge_depth(function(**call.kwargs | {name: call.volume(x)}))
    return call.stack.merge_depth(function(call.volume(x), *call.args[1:], **call.kwargs))


@function_rule(
    torch.mean, Tensor.mean, torch.sum, Tensor.sum, torch.amax, Tensor.amax, torch.amin,
    Tensor.amin, torch.var, Tensor.var, torch.std, Tensor.std, torch.logsumexp, Tensor.logsumexp,
    neighbours=False,
)  # fmt: skip
def reduction(call: Call) -> Any:
    """A reduction over height and width is one over depth too."""
    given = call.read("input dim keepdim", dim=None)
    x, dim = given.pop("input"), given.pop("dim")
    if not isinstance(dim, (list, tuple)) or x.ndim != 4 or sorted(dim) not in BOTH:
        return call.plainly()
    return call.stack.merge_depth(call.function(call.volume(x), dim=(2, 3, 4), **given))


@function_rule(Tensor.__getitem__, neighbours=False)
def crop(call: Call) -> Any:
    """Slice depth as height; a slice that ends at the size of another tensor ends at its depth."""
    x, index = call.args
    given = index if isinstance(index, tuple) else (index,)
    if x.ndim != 4 or any(not isinstance(i, slice) and i is not Ellipsis for i in given):
        return call.plainly()
    index = every_axis(index)
    if index[2] == index[3] == slice(None):
        return call.plainly()
    rows, y = index[2], call.volume(x)
    ends = (rows.start, rows.stop, rows.step)
    depth = index[2] = slice(*plain(ends))
    if call.keep:
        depth = slice(None)
    elif depth.stop is not None and depth.stop >= 0 and index[3].stop is not None:
        depth = _depth_cut(call, y, depth, index[3])
    if carries(*ends) and not call.keep:
        guess, depth = depth, slice(*along_depth(ends))
        if in_trial():
            slices = range(y.shape[2])
            call.carried(slices[depth], lambda: slices[guess])
    return call.stack.merge_depth(y[(*index[:2], depth, *index[2:])])


def _depth_cut(call: Call, x_BCDHW: Tensor, rows: slice, columns: slice) -> slice:
    """Crop to another tensor's depth: from the middle, if height is cropped so."""
    start = rows.start or 0
    taken = rows.stop - start
    known = call.stack.depth_of(taken, columns.stop - (columns.start or 0))
    if known is None:
        return slice(rows.start, None, rows.step)
    if start and start == (x_BCDHW.shape[3] - taken) // 2:
        start = (x_BCDHW.shape[2] - known) // 2
    return slice(start, start + known, rows.step)


@function_rule(
    torch.flatten, Tensor.flatten, Tensor.view, Tensor.reshape, torch.reshape, neighbours=False
)
def flatten(call: Call) -> Tensor:
    """Average the rows of all slices, for a head of a fixed image size."""
    x, y = call.args[0] if call.args else call.kwargs["input"], call.plainly()
    batch = call.stack.batch
    if x.ndim != 4 or y.ndim != 2 or y.shape[0] != x.shape[0] or y.shape[0] == batch:
        return y
    return y.reshape(batch, -1, y.shape[1]).mean(1)
