"""Gradients of depthwise convolutions on a CPU, each as a convolution.

ATen's own take several times as long as its forward pass. Measured on one AVX-512 core, in
milliseconds of processor time, kernel 3, ATen's against these:

    (1, 64, 8, 56, 56)   input 50 and 33, kernel 44 and 20; channels-last: input 23 and 5.8
    (2, 128, 4, 28, 28)  input 22 and 5.2, kernel 19 and 7.0; channels-last: input 14 and 1.5
    (2, 256, 2, 14, 14)  input 5.3 and 0.9, kernel 5.0 and 0.9; channels-last: input 5.2 and 0.5

The kernel's gradient in channels-last is ATen's, which takes as long (49 and 47, 12 and 13). With a
stride, where the output's gradient would be spread by zeros, all is ATen's.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.ops.measured import layout, wants_gradients
from lean3d.ops.recorded import is_plain
from lean3d.shape import Triple

__all__ = ["DepthwiseOnCpu", "gradients_pay"]

ONE = (1, 1, 1)


def gradients_pay(
    x_BCDHW: Tensor, kernel: Tensor, stride: Triple, pad: Triple, dilation: Triple
) -> bool:
    """Whether `DepthwiseOnCpu` takes such a convolution, and there is a backward pass."""
    if not is_plain(x_BCDHW) or x_BCDHW.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    if x_BCDHW.ndim != 5 or stride != ONE or len(kernel) != x_BCDHW.shape[1]:
        return False
    spans = [d * (k - 1) for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    inside = all(0 <= p <= span for p, span in zip(pad, spans, strict=True))
    single = x_BCDHW.dtype == kernel.dtype == torch.float32 and x_BCDHW.numel() > 0
    return inside and single and any(wants_gradients((x_BCDHW, kernel)))


class DepthwiseOnCpu(torch.autograd.Function):
    """A depthwise convolution with stride 1 and one output a channel."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor | None, pad: Triple, dilation: Triple
    ) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.pad, ctx.dilation, ctx.has_bias = pad, dilation, bias is not None
        return F.conv3d(x, kernel, bias, 1, pad, dilation, len(kernel))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, kernel = ctx.saved_tensors
        to_x = to_kernel = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _input_grad(grad, kernel, ctx.pad, ctx.dilation)
        if ctx.needs_input_grad[1]:
            to_kernel = _kernel_grad(grad, x, kernel, ctx.pad, ctx.dilation)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            to_bias = grad.sum((0, 2, 3, 4))
        return to_x, to_kernel, to_bias, None, None


def _input_grad(grad: Tensor, kernel: Tensor, pad: Triple, dilation: Triple) -> Tensor:
    rows = zip(kernel.shape[2:], dilation, pad, strict=True)
    rest = tuple(d * (k - 1) - p for k, d, p in rows)
    return F.conv3d(grad, kernel.flip(2, 3, 4), None, 1, rest, dilation, len(kernel))


def _kernel_grad(
    grad: Tensor, x: Tensor, kernel: Tensor, pad: Triple, dilation: Triple
) -> Tensor | None:
    batch, channels = x.shape[:2]
    if layout(x) and not x.is_contiguous():
        arguments = (None, ONE, pad, dilation, False, (0, 0, 0), channels)
        masks = (False, True, False)
        made = torch.ops.aten.convolution_backward(grad, x, kernel, *arguments, masks)
        return made[1]
    # every channel of every sample is a volume, and its gradient the kernel it is convolved with
    volume = x.reshape(1, batch * channels, *x.shape[2:])
    taps = grad.reshape(batch * channels, 1, *grad.shape[2:])
    products = F.conv3d(volume, taps, None, dilation, pad, 1, batch * channels)
    return products.view(batch, *kernel.shape).sum(0)
