"""Depthwise convolution by the fastest kernels.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d import kernels
from lean3d.kernels.choice import chosen, fastest, measures
from lean3d.kernels.depthwise import Depthwise, DepthwiseFunction
from lean3d.ops.measured import autocast, layout, step, wants_gradients
from lean3d.ops.recorded import is_plain
from lean3d.shape import Triple, sizes

__all__ = ["depthwise_on_gpu", "is_depthwise"]


def is_depthwise(x_BCDHW: Tensor, kernel: Tensor, groups: int) -> bool:
    """Whether every channel has kernels of its own."""
    return groups > 1 and sizes(x_BCDHW)[1] == groups and sizes(kernel)[1] == 1


def depthwise_on_gpu(
    x_BCDHW: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    stride: Triple,
    pad: Triple,
    dilation: Triple,
) -> Tensor | None:
    """Convolve by the Triton kernel where it was measured faster than torch's, else return None."""
    if not is_plain(x_BCDHW) or not measures(x_BCDHW) or not kernels.runs_on(x_BCDHW):
        return None
    depth, height, width = kernel.shape[2:]
    own = Depthwise((depth, height, width), stride, pad, dilation)
    groups = x_BCDHW.shape[1]
    given = (x_BCDHW, kernel, bias)
    trains = wants_gradients(given)
    precision = torch.is_autocast_enabled("cuda"), torch.backends.cudnn.allow_tf32
    case = ("depthwise", x_BCDHW.shape, x_BCDHW.dtype, layout(x_BCDHW), own, trains, precision)
    name = chosen(case)
    if name != "torch":
        theirs = partial(F.conv3d, stride=stride, padding=pad, dilation=dilation, groups=groups)
        ways = {"torch": theirs, "triton": partial(_ours, sizes=own)}
        if layout(x_BCDHW):
            # torch's own kernel for contiguous volumes is three times faster than its other one
            ways["contiguous"] = partial(_contiguous, theirs)
        calls = {name: partial(step, way, given) for name, way in ways.items()}
        name = fastest(case, calls, x_BCDHW, default="torch")
    return None if name == "torch" else ways[name](*given)


def _contiguous(conv: Any, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor = conv(x.contiguous(), kernel.contiguous(), bias)
    return y.contiguous(memory_format=torch.channels_last_3d)


def _ours(x: Tensor, kernel: Tensor, bias: Tensor | None, *, sizes: Depthwise) -> Tensor:
    x, kernel, bias = autocast(x, kernel, bias)
    found: Tensor = DepthwiseFunction.apply(x, kernel, bias, sizes)
    return found
