"""Depthwise convolution on a GPU, in the memory layout of its input.

Axes: B batch, C channels, D depth, H height, W width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lean3d.kernels.blocks import up
from lean3d.kernels.device import load

__all__ = [
    "Depthwise",
    "DepthwiseFunction",
    "depthwise_conv3d",
    "depthwise_input_grad",
    "depthwise_weight_grad",
]

Triple = tuple[int, int, int]
# programs of the kernel's gradient that keep a GPU busy
PARTS = 1024


@dataclass(frozen=True)
class Depthwise:
    """The sizes of a depthwise convolution with zeros beyond the border."""

    kernel: Triple
    stride: Triple
    pad: Triple
    dilation: Triple

    def output(self, size: Triple) -> Triple:
        """Return (Do, Ho, Wo)."""
        rows = zip(size, self.kernel, self.stride, self.pad, self.dilation, strict=True)
        depth, height, width = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows)
        return depth, height, width

    def numbers(self) -> tuple[int, ...]:
        return (*self.stride, *self.pad, *self.dilation, *self.kernel)


def depthwise_conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    sizes: Depthwise,
    *,
    total: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Convolve every channel of (B, C, D, H, W) by its own kernels (R * C, 1, kd, kh, kw).

    Args:
        total: Is added to the result, then `relu` applies; both without gradients.

    Shape: (B, R * C, D', H', W'), in the memory layout of x.
    """
    size = sizes.output((x.shape[2], x.shape[3], x.shape[4]))
    x = dense(x)
    y = like(x, (len(x), len(weight), *size))
    total = None if total is None else total.contiguous(memory_format=layout(y))
    rows, columns = block(y)
    voxels = y[:, 0].numel()
    if voxels:
        load("depthwise_triton").forward[up(voxels, rows), up(len(weight), columns)](
            *(x, weight.contiguous(), bias, total, y),
            *(voxels, len(weight), *x.shape[2:], *size, *x.stride(), *y.stride()),
            *sizes.numbers(),
            R=len(weight) // x.shape[1],
            HAS_BIAS=bias is not None,
            HAS_SUM=total is not None,
            RELU=relu,
            BM=rows,
            BC=columns,
        )
    return y


def depthwise_input_grad(grad: Tensor, weight: Tensor, x: Tensor, sizes: Depthwise) -> Tensor:
    """Return the gradient of the input x, in the layout of that of the output."""
    grad = dense(grad)
    made = like(grad, tuple(x.shape))
    rows, columns = block(made)
    voxels = made[:, 0].numel()
    if voxels:
        load("depthwise_triton").input_grad[up(voxels, rows), up(x.shape[1], columns)](
            *(grad, weight.contiguous(), made),
            *(voxels, x.shape[1], *x.shape[2:], *grad.shape[2:], *made.stride(), *grad.stride()),
            *sizes.numbers(),
            R=len(weight) // x.shape[1],
            BM=rows,
            BC=columns,
        )
    return made


def depthwise_weight_grad(grad: Tensor, weight: Tensor, x: Tensor, sizes: Depthwise) -> Tensor:
    """Return the gradient of the kernel, the same at every call."""
    x, grad = dense(x), dense(grad)
    rows, columns = (32, 32) if is_last(grad) else (128, 1)
    voxels, outputs = grad[:, 0].numel(), len(weight)
    depth, height, width = sizes.kernel
    across = up(outputs, columns)
    parts = max(1, min(up(PARTS, depth * height * across), up(voxels, 4 * rows)))
    share = up(up(voxels, parts), rows) * rows
    made = torch.empty((parts, *sizes.kernel, outputs), device=x.device)
    load("depthwise_triton").weight_grad[depth * height, across, parts](
        *(grad, x, made),
        *(voxels, outputs, *x.shape[2:], *grad.shape[2:], *x.stride(), *grad.stride(), share),
        *sizes.numbers(),
        TAPS=1 << (width - 1).bit_length(),
        R=outputs // x.shape[1],
        BM=rows,
        BC=columns,
    )
    return made.sum(0).movedim(-1, 0).unsqueeze(1).to(weight.dtype).contiguous()


def is_last(x: Tensor) -> bool:
    """Whether the channels of a voxel are contiguous, and voxels are not."""
    return x.stride(1) == 1 and x.shape[1] > 1


def layout(x: Tensor) -> torch.memory_format:
    return torch.channels_last_3d if is_last(x) else torch.contiguous_format


def dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=layout(x))


def like(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return an empty tensor in the memory layout of x."""
    return torch.empty(shape, device=x.device, dtype=x.dtype, memory_format=layout(x))


def block(x: Tensor) -> tuple[int, int]:
    """Return the voxels and channels of a program."""
    return (32, 32) if is_last(x) else (256, 1)


class DepthwiseFunction(torch.autograd.Function):
    """`depthwise_conv3d` and its gradients."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, sizes: Depthwise
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.sizes, ctx.has_bias = sizes, bias is not None
        return depthwise_conv3d(x, weight, bias, sizes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = depthwise_input_grad(grad, weight, x, ctx.sizes)
        if ctx.needs_input_grad[1]:
            to_weight = depthwise_weight_grad(grad, weight, x, ctx.sizes)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            to_bias = grad.sum((0, 2, 3, 4))
        return to_x, to_weight, to_bias, None
