"""Temporal kernels: the number of frames of each, and how its taps are cut to them.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.1, Table 1 and Fig 3
Differs from the paper: it trains from scratch; here the taps come from the source.

Axes: T time, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.causal.method import Dissect
from lean3d.conversion.lean.dense import is_dense
from lean3d.conversion.to3d.base import refusal_at
from lean3d.conversion.trace.graph import Flow
from lean3d.ops import CausalConv3d, PlanarConv3d
from lean3d.ops.base import Conv3dLike
from lean3d.ops.causal_pools import WithPrevious
from lean3d.ops.inflated import InflatedConv3d

__all__ = ["LINKED", "causal_form", "depths", "is_kernel", "moved"]


# the present frame and the previous one
LINKED = 2


def is_kernel(module: nn.Module) -> bool:
    """Whether it convolves with a single kernel: one of our operators without parts, or torch's."""
    ours = isinstance(module, Conv3dLike) and not module._modules
    return isinstance(module, nn.Conv3d) or ours


def depths(flow: Flow, how: Dissect) -> dict[str, int]:
    """Return the frames of each temporal kernel: `frames` at the stem, otherwise two; in a
    residual block, one after the first convolution.
    """
    found = {}
    for run in flow.runs(is_kernel):
        calls = [flow.calls[n] for n in run]
        seen = [call for call in calls if time_extent(call.module) > 1]
        once = flow.adds(run)
        for place, call in enumerate(seen):
            found[call.path] = 1 if once and place else LINKED
        if seen and set(calls[0].sources) <= {-1}:
            found[seen[0].path] = how.frames
    return found


def time_extent(conv: object) -> int:
    """Return the frames from its first tap to its last, without dilation."""
    return dense(conv).shape[2]


def dense(conv: Any) -> Tensor:
    """Return the kernel (C', C/groups, T, H, W) of torch's convolution, or the one ours equals."""
    if isinstance(conv, PlanarConv3d):
        return conv.kernel(conv.weight)
    return conv.weight if is_dense(conv) else conv.dense_weight()


def places(taps: int, depth: int) -> tuple[Tensor, Tensor]:
    """Map each tap to one of `depth` frames, and say whether its frame stays the same.

    Three frames hold the middle of the kernel, delayed by a frame; fewer end at the present frame.
    """
    wanted = torch.arange(taps) - taps // 2 + depth - 1 - (depth - 1) // 2
    return wanted.clamp(0, depth - 1), (wanted >= 0) & (wanted < depth)


def cut(kernel: Tensor, depth: int) -> Tensor:
    """Sum the taps of (C', C, T, H, W) onto `depth` frames, the last of which is the present."""
    where, _ = places(kernel.shape[2], depth)
    shape = (*kernel.shape[:2], depth, *kernel.shape[3:])
    return kernel.new_zeros(shape).index_add_(2, where.to(kernel.device), kernel)


def moved(kernel: Tensor, depth: int) -> float:
    """Return the norm of the taps that move to another frame, over that of the kernel."""
    if kernel.is_meta:
        return 1.0
    away = kernel[:, :, ~places(kernel.shape[2], depth)[1]]
    return float(away.double().norm() / kernel.double().norm().clamp(min=1e-30))


@torch.no_grad()
def causal_form(path: str, conv: Any, how: Dissect, depth: int) -> tuple[nn.Module, float]:
    """Return the causal operator for a convolution, and the part of its kernel that moved.

    Args:
        depth: Frames of its kernel; LINKED frames are combined as `skip` says.
    """
    kernel = dense(conv).detach()
    linked = depth == LINKED
    depth = 1 if linked and how.skip != "concat" else depth
    arguments: dict[str, Any] = dict(
        kernel_size=(depth, *kernel.shape[3:]),
        stride=(1, *conv.stride[1:]),
        padding=(0, *plane_padding(path, conv, kernel)),
        dilation=tuple(getattr(conv, "spread", conv.dilation)),
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=getattr(conv, "plane_mode", conv.padding_mode),
    )
    past = arguments["dilation"][0] * (depth - 1)
    like: dict[str, Any] = dict(device="meta", dtype=kernel.dtype, past=past, first=how.first)
    causal = CausalConv3d(conv.in_channels, conv.out_channels, **arguments, **like)
    flag = next(conv.parameters()).requires_grad
    own = conv._parameters.get("weight")
    kept = own is not None and own.shape == causal.weight.shape
    causal.weight = own if kept else nn.Parameter(cut(kernel, depth), requires_grad=flag)
    causal.bias = conv.bias
    if linked and how.skip == "sum":
        # the sum of two equal frames is twice the frame
        causal.weight = nn.Parameter(causal.weight / 2, requires_grad=flag)
        return nn.Sequential(WithPrevious(how.first), causal), moved(kernel, depth)
    return causal, moved(kernel, depth)


def plane_padding(path: str, conv: Any, kernel: Tensor) -> tuple[int, int]:
    """Return the padding of height and width, equal on both sides."""
    if isinstance(conv, Conv3dLike):
        extent: Any = tuple(kernel.shape[2:])
        sides = conv.pads_for(extent, getattr(conv, "spread", None))[1:]
    elif isinstance(conv, InflatedConv3d):
        sides = conv.pads[1:]
    elif conv.padding == "valid":
        sides = ((0, 0), (0, 0))
    elif conv.padding == "same":
        spans = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)][1:]
        sides = tuple((span // 2, span - span // 2) for span in spans)  # type: ignore[assignment]
    else:
        sides = tuple((pad, pad) for pad in conv.padding[1:])  # type: ignore[assignment]
    if any(before != after or before < 0 for before, after in sides):
        raise refusal_at(path, conv, f"its padding of height and width is not even, {sides}")
    return sides[0][0], sides[1][0]
