"""Slow and simple reference of every operator: one tap of one kernel at a time.

Nothing here calls a convolution. Tests compare the operators with these definitions, output and
gradient.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from lean3d.ops.acs import ACSConv3d
from lean3d.ops.atoms import AtomConv3d
from lean3d.ops.base import Conv3dLike
from lean3d.ops.causal import CausalConv3d
from lean3d.ops.channel import ChannelSeparatedConv3d
from lean3d.ops.dense import DenseConv3d
from lean3d.ops.parallel import ParallelSeparableConv3d
from lean3d.ops.planar import PlanarConv3d
from lean3d.ops.soft_acs import MeanACSConv3d, SoftACSConv3d
from lean3d.ops.space_time import SpaceTimeConv3d

__all__ = ["convolve", "reference"]


def source(position: int, size: int, pads: tuple[int, int], mode: str) -> int | None:
    """Return the voxel at a position of the padded axis; None for a zero."""
    if 0 <= position < size:
        return position
    if mode == "zeros" or not -pads[0] <= position < size + pads[1]:
        return None
    if mode == "replicate":
        return min(max(position, 0), size - 1)
    if mode == "circular":
        return position % size
    return -position if position < 0 else 2 * (size - 1) - position


def gather(x: Tensor, axis: int, positions: Sequence[int], pads, mode: str) -> Tensor:
    """Return the slices of `x` at the given positions of one padded axis."""
    slices = []
    for position in positions:
        index = source(position, x.shape[axis], pads, mode)
        zeros = torch.zeros_like(x.select(axis, 0))
        slices.append(zeros if index is None else x.select(axis, index))
    return torch.stack(slices, dim=axis)


def convolve(
    x: Tensor, kernel: Tensor, bias: Tensor | None, *, nominal, stride, pads, dilation, groups,
    mode, spread=None,
) -> Tensor:  # fmt: skip
    """A kernel of any extent, centred on the middle tap of a kernel of size `nominal`.

    `dilation` is that of the nominal kernel, which fixes the output size; `spread` is its own.
    """
    spread = spread or dilation
    outputs = kernel.shape[0]
    total: Any = 0
    for tap in product(*(range(extent) for extent in kernel.shape[2:])):
        seen = x
        for axis in range(3):
            reach = dilation[axis] * (nominal[axis] - 1)
            length = (x.shape[2 + axis] + sum(pads[axis]) - reach - 1) // stride[axis] + 1
            middle = dilation[axis] * ((nominal[axis] - 1) // 2)
            offset = middle + spread[axis] * (tap[axis] - (kernel.shape[2 + axis] - 1) // 2)
            starts = [i * stride[axis] - pads[axis][0] + offset for i in range(length)]
            seen = gather(seen, 2 + axis, starts, pads[axis], mode)
        depth, height, width = tap
        weight = kernel[:, :, depth, height, width].unflatten(0, (groups, outputs // groups))
        seen = seen.unflatten(1, (groups, -1))
        total = total + torch.einsum("bgcdhw,goc->bgodhw", seen, weight).flatten(1, 2)
    return total if bias is None else total + bias.view(1, -1, 1, 1, 1)


def settings(op: Conv3dLike) -> dict:
    sizes = dict(nominal=op.kernel_size, stride=op.stride, pads=op.pads, dilation=op.dilation)
    return dict(**sizes, groups=op.groups, mode=op.padding_mode)


def plain(conv: torch.nn.Conv3d, x: Tensor) -> Tensor:
    """Run an inner nn.Conv3d by its own arguments."""
    # the padding is read through one of our operators, so that "same" is handled once
    size = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, False)
    arguments: Any = (conv.in_channels, conv.out_channels, *size, conv.padding_mode)
    like = Conv3dLike(*arguments)
    return convolve(x, conv.weight, conv.bias, **settings(like))


def normed(norm: Any, y: Tensor) -> Tensor:
    """Batch norm by the statistics of the batch."""
    mean = y.mean((0, 2, 3, 4), keepdim=True)
    variance = y.var((0, 2, 3, 4), keepdim=True, unbiased=False)
    y = (y - mean) / (variance + norm.eps).sqrt()
    return y * norm.weight.view(1, -1, 1, 1, 1) + norm.bias.view(1, -1, 1, 1, 1)


def views(op: Any, x: Tensor) -> list[Tensor]:
    """The 2D kernel on the axial, coronal and sagittal planes, without bias."""
    return [convolve(x, op.weight.unsqueeze(2 + view), None, **settings(op)) for view in range(3)]


def add_bias(op: Any, y: Any) -> Tensor:
    return y if op.bias is None else y + op.bias.view(1, -1, 1, 1, 1)


def acs(op: Any, x: Tensor) -> Tensor:
    axial, coronal, sagittal = views(op, x)
    first, second = op.split[0], op.split[0] + op.split[1]
    parts = [axial[:, :first], coronal[:, first:second], sagittal[:, second:]]
    return add_bias(op, torch.cat(parts, dim=1))


def mean_acs(op: object, x: Tensor) -> Tensor:
    return add_bias(op, sum(views(op, x)) / 3)


def soft_acs(op: Any, x: Tensor) -> Tensor:
    shares = torch.exp(op.views) / torch.exp(op.views).sum(1, keepdim=True)
    weighed = [y * shares[:, view].view(1, -1, 1, 1, 1) for view, y in enumerate(views(op, x))]
    return add_bias(op, sum(weighed))


def planar(op: Any, x: Tensor) -> Tensor:
    return convolve(x, op.weight.unsqueeze(2 + op.axis), op.bias, **settings(op))


def parallel(op: Any, x: Tensor) -> Tensor:
    outputs: list[list[Tensor]] = [[] for _ in range(op.groups)]
    total: Any = 0
    for stream in op.streams:
        convs = [layer for layer in stream.modules() if isinstance(layer, torch.nn.Conv3d)]
        norms = [layer for layer in stream.modules() if isinstance(layer, torch.nn.BatchNorm3d)]
        y = x
        for index, conv in enumerate(convs[:-1]):
            y = plain(conv, y)
            y = normed(norms[index], y) if op.norm else y
            y = y.clamp(min=0) if op.relu else y
        y = plain(convs[-1], y)
        total = total + y if op.join == "sum" else total
        for group, part in enumerate(y.chunk(op.groups, dim=1)):
            outputs[group].append(part)
    if op.join == "sum":
        return total
    return torch.cat([part for group in outputs for part in group], dim=1)


def channel_separated(op: Any, x: Tensor) -> Tensor:
    return plain(op.local, plain(op.pointwise, x) if op.mode == "ip" else x)


def space_time(op: Any, x: Tensor) -> Tensor:
    y = plain(op.spatial, x)
    if op.form == "2plus1d":
        y = normed(op.between[0], y).clamp(min=0)
    return plain(op.temporal, y)


def atoms(op: Any, x: Tensor) -> Tensor:
    """Eqn 2 for each pair of atoms, summed."""
    total: Any = 0
    for i, psi in enumerate(op.spatial_atoms):
        for j, phi in enumerate(op.temporal_atoms):
            atom = phi.view(-1, 1, 1) * psi
            kernel = op.coefficients[:, :, i, j, None, None, None] * atom
            total = total + convolve(x, kernel, None, **settings(op), spread=op.spread)
    return add_bias(op, total)


def causal(op: Any, x: Tensor) -> Tensor:
    frames = sum(op.pads[0])
    before = x[:, :, :1] if op.first == "replicate" else torch.zeros_like(x[:, :, :1])
    x = torch.cat([before] * frames + [x], dim=2)
    size = settings(op)
    size["pads"] = ((0, 0), *op.pads[1:])
    return convolve(x, op.weight, op.bias, **size)


def dense(op: Any, x: Tensor) -> Tensor:
    return convolve(x, op.weight, op.bias, **settings(op))


REFERENCES: dict[type, Any] = {
    ACSConv3d: acs,
    AtomConv3d: atoms,
    CausalConv3d: causal,
    ChannelSeparatedConv3d: channel_separated,
    DenseConv3d: dense,
    MeanACSConv3d: mean_acs,
    ParallelSeparableConv3d: parallel,
    PlanarConv3d: planar,
    SoftACSConv3d: soft_acs,
    SpaceTimeConv3d: space_time,
}


def reference(op: Conv3dLike, x_BCDHW: Tensor) -> Tensor:
    """Return the expected output of an operator (in train mode)."""
    return REFERENCES[type(op)](op, x_BCDHW)
