"""nn.functional.conv3d and max_pool3d by the fastest equivalent kernels.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from lean3d.ops.depthwise import depthwise_on_gpu, is_depthwise
from lean3d.ops.padding import Pads, by_conv3d, pad_beyond
from lean3d.ops.recorded import holds, is_plain, is_transformed
from lean3d.shape import Triple, sizes

__all__ = ["conv3d", "convolve", "is_exposed", "max_pool3d"]


def convolve(
    x_BCDHW: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    pads: Pads,
    given: Pads,
    mode: str,
    stride: Triple,
    dilation: Triple,
    groups: int,
) -> Tensor:
    """Convolve with a dense kernel after padding that is separate at both ends of each axis.

    Args:
        pads: (before, after) along D, H, W; negative amounts crop.
        given: How much of it is by `mode`, as nn.Conv3d pads; the rest is zeros.
    """
    inside, rest = by_conv3d(pads, mode)
    if any(map(any, rest)):
        x_BCDHW = pad_beyond(x_BCDHW, rest, given, mode)
    return conv3d(x_BCDHW, kernel, bias, stride, inside, dilation, groups)


def conv3d(
    x_BCDHW: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    stride: Triple,
    pad: Triple,
    dilation: Triple,
    groups: int,
) -> Tensor:
    """Convolve with a dense kernel (C', C/groups, kd, kh, kw), zeros beyond the border."""
    if not torch.compiler.is_compiling() and has_torch_function_unary(x_BCDHW):
        # a single call for observers, whatever kernel computes it
        call = (x_BCDHW, kernel, bias, stride, pad, dilation, groups)
        return handle_torch_function(conv3d, (x_BCDHW,), *call)
    if is_depthwise(x_BCDHW, kernel, groups):
        found = depthwise_on_gpu(x_BCDHW, kernel, bias, stride, pad, dilation)
        if found is not None:
            return found
    if is_plane(x_BCDHW, kernel, pad, dilation, groups):
        # the taps are concatenated along the channels, in the input as in the kernel: views
        taps_BCHW = x_BCDHW[:, :, :: dilation[0]].flatten(1, 2)
        rest = (stride[1:], pad[1:], dilation[1:])
        return F.conv2d(taps_BCHW, kernel.flatten(1, 2), bias, *rest).unsqueeze(2)
    if loses_gradients(x_BCDHW, kernel, stride, pad):
        depth, height, width = pad
        x_BCDHW = F.pad(x_BCDHW, (width, width, height, height, depth, depth))
        pad = (0, 0, 0)
    if takes_slow_path(x_BCDHW, kernel, groups):
        return torch.mkldnn_convolution(x_BCDHW, kernel, bias, pad, stride, dilation, groups)
    return F.conv3d(x_BCDHW, kernel, bias, stride, pad, dilation, groups)


def max_pool3d(x_BCDHW: Tensor, kernel: Triple, stride: Triple, pad: Triple) -> Tensor:
    """Max over windows; -inf beyond the border.

    Measured at one frame of 64 channels, 56 x 56: 1.6 ms by ATen's loop over volumes, 0.3 ms by its
    vectors over channels.
    """
    other = pad[0] > 0 or x_BCDHW.device.type != "cpu" or is_transformed()
    if other or not holds(x_BCDHW.shape[2] == kernel[0]):
        return F.max_pool3d(x_BCDHW, kernel, stride, pad)
    plane_BCHW = x_BCDHW.squeeze(2) if kernel[0] == 1 else x_BCDHW.amax(2)
    plane_BCHW = plane_BCHW.contiguous(memory_format=torch.channels_last)
    pooled_BCHW = F.max_pool2d(plane_BCHW, kernel[1:], stride[1:], pad[1:])
    return pooled_BCHW.contiguous().unsqueeze(2)


def is_plane(x_BCDHW: Tensor, kernel: Tensor, pad: Triple, dilation: Triple, groups: int) -> bool:
    """Whether the kernel spans all of depth, so that conv2d over its taps gives the output.

    Measured at one sample of (64, 3, 56, 56), kernel 3: 3.5 times faster than conv3d; a depthwise
    kernel is faster as it is.
    """
    span = dilation[0] * (sizes(kernel)[2] - 1) + 1
    return groups == 1 and pad[0] == 0 and holds(x_BCDHW.shape[2] == span)


def loses_gradients(x_BCDHW: Tensor, kernel: Tensor, stride: Triple, pad: Triple) -> bool:
    """Whether oneDNN may leave parts of the kernel's gradient unwritten."""
    # traces are checked without gradients and may be trained
    trains = torch.jit.is_tracing() or (torch.is_grad_enabled() and kernel.requires_grad)
    on_cpu = x_BCDHW.device.type == "cpu"
    return trains and on_cpu and is_exposed(sizes(x_BCDHW)[1], stride, pad)


def is_exposed(channels: int, stride: Triple, pad: Triple) -> bool:
    """Whether a convolution should pad the volume explicitly: stems of images and scans.

    Observed with torch 2.13 as NaN and as damaged memory, at up to three channels, kernel 7,
    stride 2, padding 3 and depth 6; gradients are complete with explicit padding.
    """
    return channels <= 3 and max(stride) > 1 and any(pad)


def takes_slow_path(x_BCDHW: Tensor, kernel: Tensor, groups: int) -> bool:
    """Whether ATen would use its im2col loop instead of oneDNN: one small float32 sample on a CPU.

    Measured at (1, 64, 16, 16, 16): 7.4 ms by that loop, 2.8 ms by oneDNN.
    """
    if not is_plain(x_BCDHW):
        return False
    if (
        x_BCDHW.device.type != "cpu"
        or kernel.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
    ):
        return False
    # the bounds are those of ATen's use_mkldnn
    small = 0 < x_BCDHW[..., 0].numel() <= 20480 and min(kernel.shape[-2:]) <= 3
    single = x_BCDHW.dtype == kernel.dtype == torch.float32
    usable = torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)
    return single and small and usable and groups == 1 and x_BCDHW.shape[0] == 1
