"""Axial-coronal-sagittal convolution on a GPU as one implicit matrix product.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Algorithm 1

Axes: B batch, C channels, D depth, H height, W width.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from lean3d.kernels.blocks import Blocks, up
from lean3d.kernels.choice import chosen, fastest
from lean3d.kernels.device import load, multiplies_in

__all__ = ["ACS", "Geometry", "acs_conv3d", "acs_input_grad", "acs_weight_grad", "tiled"]

Triple = tuple[int, int, int]
# by the settings of an operator and the size of a volume; a network has few
_geometries: dict[Any, "Geometry"] = {}
# voxels, outputs and inputs of a tile of the product, warps, stages of its pipeline
FORWARD = (
    Blocks(128, 32, 32, 4, 4),
    Blocks(128, 64, 32, 4, 4),
    Blocks(64, 32, 64, 4, 3),
    Blocks(128, 128, 32, 8, 3),
)
INPUT_GRAD = FORWARD
# outputs, inputs and voxels of a tile
WEIGHT_GRAD = (Blocks(32, 64, 64, 4, 3), Blocks(64, 64, 32, 4, 3), Blocks(64, 128, 32, 8, 3))
# tiles of the kernel's gradient that keep a GPU busy
PARTS = 512


@dataclass(frozen=True)
class Geometry:
    """The sizes of a convolution.

    Args:
        split: Outputs of the axial, coronal and sagittal view.
        pads: Padding in front, along D, H and W, of each view; negative amounts crop.
        size: (Do, Ho, Wo) of the output.
    """

    split: Triple
    pads: tuple[Triple, Triple, Triple]
    stride: Triple
    dilation: Triple
    size: Triple

    @classmethod
    def of(cls, op: Any, size: Triple) -> "Geometry":
        """Return the sizes of an ACSConv3d on a volume of (D, H, W), padded by zeros."""
        own = (op.split, op.pads, op.kernel_size, op.stride, op.dilation)
        case = (*own, op.weight.shape, size)
        if case not in _geometries:
            _geometries[case] = cls._of(op, size)
        return _geometries[case]

    @classmethod
    def _of(cls, op: Any, size: Triple) -> "Geometry":
        height, width = op.weight.shape[2:]
        planes = (1, height, width), (height, 1, width), (height, width, 1)
        pads = tuple(tuple(before for before, _ in op.pads_for(plane)) for plane in planes)
        rows = zip(size, op.pads, op.kernel_size, op.stride, op.dilation, strict=True)
        output = tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, p, k, s, d in rows)
        return cls(op.split, pads, op.stride, op.dilation, output)  # type: ignore[arg-type]

    @cached_property
    def rest(self) -> tuple[int, ...]:
        """The kernels' arguments after the sizes of the input."""
        axial, coronal, _ = self.split
        ends = axial, axial + coronal
        pads = (n for own in self.pads for n in own)
        return (*self.size, *ends, *self.stride, *self.dilation, *pads)

    @cached_property
    def outputs(self) -> int:
        return sum(self.split)

    def numbers(self, x_BDHWC: Tensor, voxels: int) -> tuple[int, ...]:
        """Return the kernels' arguments on the input (B, D, H, W, C), for tiles of `voxels`."""
        _, *sizes, channels = x_BDHWC.shape
        return (voxels, channels, self.outputs, *sizes, *self.rest)

    def tiles(self, outputs: int) -> int:
        """Return how many tiles cover all outputs, each of one view."""
        return sum(up(own, outputs) for own in self.split)


def acs_conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    *,
    total: Tensor | None = None,
    relu: bool = False,
    blocks: Blocks = FORWARD[0],
) -> Tensor:
    """Convolve (B, C, D, H, W) with (C', C, I, J), a third of the outputs on each plane.

    Args:
        total: Is added to the result, then `relu` applies; both without gradients.
        blocks: The tile.

    Shape: (B, C', Do, Ho, Wo), the channels of a voxel contiguous.
    """
    x_BDHWC, kernel = last(x), last(weight)
    shape = (len(x), *geometry.size, len(weight))
    y_BDHWC = x.new_empty(shape)
    voxels = y_BDHWC[..., 0].numel()
    grid = (up(voxels, blocks.rows), geometry.tiles(blocks.columns))
    if voxels:
        load("acs_triton").forward[grid](
            *(x_BDHWC, kernel, bias, None if total is None else last(total), y_BDHWC),
            *geometry.numbers(x_BDHWC, voxels),
            *weight.shape[2:],
            HAS_BIAS=bias is not None,
            HAS_SUM=total is not None,
            RELU=relu,
            PRECISION=multiplies_in(x.dtype),
            **blocks.options,
        )
    return y_BDHWC.movedim(-1, 1)


def acs_input_grad(
    grad: Tensor,
    weight: Tensor,
    size: Triple,
    geometry: Geometry,
    *,
    blocks: Blocks = INPUT_GRAD[0],
) -> Tensor:
    """Return the gradient of the input, (B, C, *size), from that of the output."""
    grad_BDHWC, kernel = last(grad), last(weight)
    x_BDHWC = grad.new_empty((len(grad), *size, weight.shape[1]))
    voxels = x_BDHWC[..., 0].numel()
    grid = (up(voxels, blocks.rows), up(weight.shape[1], blocks.columns))
    if voxels:
        load("acs_triton").input_grad[grid](
            *(grad_BDHWC, kernel, x_BDHWC),
            *geometry.numbers(x_BDHWC, voxels),
            *weight.shape[2:],
            STRIDED=max(geometry.stride) > 1,
            PRECISION=multiplies_in(grad.dtype),
            **blocks.options,
        )
    return x_BDHWC.movedim(-1, 1)


def acs_weight_grad(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    *,
    blocks: Blocks = WEIGHT_GRAD[0],
) -> Tensor:
    """Return the gradient of the kernel (C', C, I, J), the same at every call."""
    grad_BDHWC, x_BDHWC = last(grad), last(x)
    voxels = grad_BDHWC[..., 0].numel()
    outputs, channels, *taps = weight.shape
    products = geometry.tiles(blocks.rows) * taps[0] * taps[1]
    across = up(channels, blocks.columns)
    parts = max(1, min(PARTS // (products * across), up(voxels, 8 * blocks.depth)))
    share = up(up(voxels, parts), blocks.depth) * blocks.depth
    made = torch.empty((parts, outputs, *taps, channels), device=x.device)
    load("acs_triton").weight_grad[(products, across, parts)](
        *(grad_BDHWC, x_BDHWC, made),
        *geometry.numbers(x_BDHWC, voxels),
        share,
        *taps,
        PRECISION=multiplies_in(x.dtype),
        **blocks.options,
    )
    return made.sum(0).to(weight.dtype).movedim(-1, 1)


def last(x: Tensor) -> Tensor:
    """Return a view, or a copy, with the channels last: contiguous (B, ..., C)."""
    return x.movedim(1, -1).contiguous()


class ACS(torch.autograd.Function):
    """`acs_conv3d` and its gradients, each in the fastest tile."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.has_bias = geometry, bias is not None
        return tiled(FORWARD, acs_conv3d, x, weight, bias, geometry)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        size = tuple(x.shape[2:])
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = tiled(INPUT_GRAD, acs_input_grad, grad, weight, size, ctx.geometry)
        if ctx.needs_input_grad[1]:
            to_weight = tiled(WEIGHT_GRAD, acs_weight_grad, grad, x, weight, ctx.geometry)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            to_bias = grad.sum((0, 2, 3, 4))
        return to_x, to_weight, to_bias, None


def tiled(
    tiles: tuple[Blocks, ...], kernel: Any, grad: Tensor, *rest: Any, **options: Any
) -> Tensor:
    """Run a kernel in its fastest tile, which is measured at the first call of a case."""
    shapes = [x.shape if isinstance(x, Tensor) else x for x in (grad, *rest)]
    flags = options.get("relu", False), options.get("total") is None
    case = (kernel.__name__, *shapes, grad.dtype, multiplies_in(grad.dtype), *flags)
    name = chosen(case)
    if name is None:
        call = partial(kernel, grad, *rest, **options)
        ways = {str(place): partial(call, blocks=blocks) for place, blocks in enumerate(tiles)}
        name = fastest(case, ways, grad, default="0", compiled=tuple(ways))
    made: Tensor = kernel(grad, *rest, blocks=tiles[int(name)], **options)
    return made
