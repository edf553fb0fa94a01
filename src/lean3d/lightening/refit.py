"""Fit the last linear stage of an operator to the outputs that it should give, by least squares.

As in channel pruning by reconstruction (He et al., arXiv:1707.06168, Sec 3.1), for all forms.

Axes: B batch, C channels, D depth, H height, W width; N output positions, U unknowns of an output,
O outputs, V taps of the 3D kernel, P parameters that make one input's taps.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d import ops
from lean3d.conversion.lean.dense import is_dense, settings
from lean3d.conversion.lean.views import tap_layout
from lean3d.conversion.to3d.base import To3D
from lean3d.lightening.cut import Form
from lean3d.ops.inflated import InflatedConv3d, PaddedConv3d, padded
from lean3d.ops.kernel import KernelConv3d

__all__ = ["refit"]

ROWS, NUMBERS = 4096, 1 << 24
HELD_OUT = 4  # one position of that many is to check the fit
LEAST = 1e-3


class _Stage(NamedTuple):
    """A convolution, and the channels of the operator's output that it alone gives."""

    conv: Any
    outputs: slice


@torch.no_grad()
def refit(operator: nn.Module, how: Form | None, given: Tensor, wanted: Tensor) -> bool:
    """Fit its last linear stage to `wanted` on `given`, and return whether that is nearer.

    Parameters stay where they were unless the outputs on positions left out of the fit get nearer.
    Stages that are not the only one to give an output, and grouped streams, stay as they are.
    """
    if isinstance(operator, nn.Linear):
        return _fit_linear(operator, given, wanted)
    better = False
    for stage in _stages(operator):
        seen: list[Tensor] = []
        handle = stage.conv.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0]))
        try:
            operator(given)
        finally:
            handle.remove()
        better |= _fit(stage.conv, how, seen[0], wanted[:, stage.outputs])
    return better


def _fit_linear(layer: nn.Linear, given: Tensor, wanted: Tensor) -> bool:
    """Fit a linear layer on (B, C) to give (B, O)."""
    shift = None if layer.bias is None else layer.bias.detach()[None, None]
    if len(given) < HELD_OUT:
        return False
    found = _solve(given[None], wanted[None], layer.weight.detach().T[None], shift)
    if found is None:
        return False
    layer.weight.copy_(found[0][0].T.to(layer.weight))
    if found[1] is not None:
        layer.bias.copy_(found[1].flatten().to(layer.bias))
    return True


def _stages(operator: Any) -> Iterator[_Stage]:
    everything = slice(None)
    if isinstance(operator, PaddedConv3d):
        yield from _stages(operator.operator)
    elif isinstance(operator, ops.SpaceTimeConv3d):
        yield _Stage(operator.temporal, everything)
    elif isinstance(operator, ops.ChannelSeparatedConv3d):
        yield _Stage(operator.local, everything)
    elif isinstance(operator, ops.ParallelSeparableConv3d):
        if operator.groups == 1 and operator.join == "concat":
            start = 0
            for stream, share in zip(operator.streams, operator.shares, strict=True):
                lines: Any = stream
                yield _Stage(lines[-1], slice(start, start + share))
                start += share
    elif isinstance(operator, ops.SoftACSConv3d):
        return
    elif isinstance(operator, KernelConv3d) or is_dense(operator):
        yield _Stage(operator, everything)


def _fit(conv: Any, how: Form | None, features: Tensor, wanted: Tensor) -> bool:
    rows_GNCV, targets_GNO = _patches(conv, features, wanted)
    better = False
    # outputs of one layout share their equations
    for layout_VP, outputs in _layouts(conv, how, features):
        rows = rows_GNCV if layout_VP is None else rows_GNCV @ layout_VP.to(rows_GNCV)
        targets = targets_GNO[..., outputs]
        weight = conv.weight.detach().flatten(2).unflatten(0, (conv.groups, -1))[:, outputs]
        bias = None if conv.bias is None else conv.bias.detach().unflatten(0, (conv.groups, -1))
        start = weight.flatten(2).mT  # (G, U, O)
        shift = None if bias is None else bias[:, outputs].unsqueeze(1)
        found = _solve(rows.flatten(2), targets, start, shift)
        if found is None:
            continue
        better = True
        shape = weight.shape
        grouped = conv.weight.detach().flatten(2).unflatten(0, (conv.groups, -1)).clone()
        grouped[:, outputs] = found[0].mT.reshape(shape).to(grouped)
        conv.weight.copy_(grouped.reshape(conv.weight.shape))
        if bias is not None and found[1] is not None:
            moved = bias.clone()
            moved[:, outputs] = found[1].squeeze(1).to(moved)
            conv.bias.copy_(moved.flatten())
    return better


def _layouts(conv: Any, how: Form | None, like: Tensor) -> Iterator[tuple[Tensor | None, Any]]:
    """Yield where parameters go in the 3D kernel (V, P), for the outputs of a group it holds for.

    None where a parameter is a tap.
    """
    if isinstance(conv, ops.AtomConv3d):
        pairs = torch.einsum("mp,nt->tpmn", conv.spatial_atoms.flatten(1), conv.temporal_atoms)
        yield pairs.flatten(2).flatten(0, 1), slice(None)
    elif isinstance(how, To3D):
        each = dict(in_channels=conv.groups, bias=False, dtype=torch.float64, device="cpu")
        where_OVP = tap_layout(how.operator({**settings(conv), **each}))
        kinds, numbers = torch.unique(where_OVP, dim=0, return_inverse=True)
        if conv.groups > 1 and len(kinds) > 1:
            return
        for kind, layout in enumerate(kinds):
            here = (numbers == kind).nonzero().flatten().to(like.device)
            yield layout, here if conv.groups == 1 else slice(None)
    else:
        yield None, slice(None)


def _patches(conv: Any, x: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return taps (G, N, C / G, V) under the kernel and outputs (G, N, O / G) at some positions."""
    padded = _padded(conv, x).movedim(1, -1)
    taps = [d * torch.arange(k) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    numbers = padded.shape[-1] * len(taps[0]) * len(taps[1]) * len(taps[2])
    sizes = wanted.shape[2:]
    places = len(wanted) * sizes.numel()
    most = max(min(ROWS, NUMBERS // numbers), 64)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(places, generator=generator)[:most]
    batch, rest = chosen // sizes.numel(), chosen % sizes.numel()
    d, h, w = rest // (sizes[1] * sizes[2]), rest // sizes[2] % sizes[1], rest % sizes[2]
    starts = [own * step for own, step in zip((d, h, w), conv.stride, strict=True)]
    depth, height, width = (s[:, None] + t for s, t in zip(starts, taps, strict=True))
    picked = padded[
        batch[:, None, None, None],
        depth[:, :, None, None],
        height[:, None, :, None],
        width[:, None, None, :],
    ]
    rows = picked.flatten(1, 3).transpose(1, 2)  # (N, C, V)
    rows = rows.unflatten(1, (conv.groups, -1)).transpose(0, 1)
    targets = wanted[batch, :, d, h, w].unflatten(1, (conv.groups, -1)).transpose(0, 1)
    return rows, targets


def _padded(conv: Any, x: Tensor) -> Tensor:
    if isinstance(conv, ops.CausalConv3d):
        return padded(x, ((conv.past, 0), *conv.pads[1:]), conv.first, conv.padding_mode)
    if isinstance(conv, InflatedConv3d):
        return padded(x, conv.pads, conv.pad, conv.plane_mode)
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return F.pad(x, conv._reversed_padding_repeated_twice, mode=mode)


def _solve(
    rows: Tensor, targets: Tensor, start: Tensor, shift: Tensor | None
) -> tuple[Tensor, Tensor | None] | None:
    """Return weights (G, U, O) near `start` that fit better where they were not fitted, or None.

    A weight is expected to change by about the size of the weights, so that the ridge is what the
    best fit misses, squared, over their mean square: much larger weights fit these samples alone.
    """
    rows, targets, start = rows.double(), targets.double(), start.double()
    missed = targets - rows @ start
    if shift is not None:
        shift = shift.double()
        missed = missed - shift
    test, train = slice(None, None, HELD_OUT), torch.arange(rows.shape[1]) % HELD_OUT != 0
    own, left = rows[:, train], missed[:, train]
    middle, level = own.new_zeros(()), left.new_zeros(())
    if shift is not None:
        middle, level = own.mean(1, keepdim=True), left.mean(1, keepdim=True)
    own, left = own - middle, left - level
    wide = own.shape[2] > own.shape[1]
    gram = own @ own.mT if wide else own.mT @ own

    def fitted(ridge: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        whole = gram + ridge * torch.eye(gram.shape[-1]).to(gram)
        if wide:
            change = own.mT @ torch.linalg.solve(whole, left)
        else:
            change = torch.linalg.solve(whole, own.mT @ left)
        moved = None if shift is None else level - middle @ change
        after = missed[:, test] - rows[:, test] @ change
        return change, moved, after if moved is None else after - moved

    def size(x: Tensor) -> Tensor:
        return x.square().mean((1, 2), keepdim=True).clamp_min(1e-30)

    # of the mean energy of an unknown, on either side
    least = LEAST * size(own) * own.shape[1]
    _, _, after = fitted(least)
    change, moved, after = fitted(torch.maximum(least, size(after) / size(start)))
    if not float(after.square().sum()) < float(missed[:, test].square().sum()):
        return None
    return start + change, None if shift is None or moved is None else shift + moved
