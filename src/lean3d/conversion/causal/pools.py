"""Temporal pools: windows are cut to one frame; the final pool becomes a running one.

Axes: B batch, C channels, T time, H height, W width, K classes.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lean3d.conversion.causal.method import Dissect
from lean3d.conversion.trace.graph import Flow, Node
from lean3d.ops.causal_pools import LastFrames, MaxSoFar, MeanSoFar, RunningMean
from lean3d.shape import triple

__all__ = [
    "POOLS",
    "WINDOWED",
    "Means",
    "final_pools",
    "means",
    "pool_over_clip",
    "readers",
    "spread_over_frames",
    "stay_within_frames",
]

WINDOWED = (nn.MaxPool3d, nn.AvgPool3d)
POOLS = (nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d)
KINDS = ("mean", "sum", "max")
# functions that do away with axes
READS = ("flatten", "view", "reshape", "squeeze", "__getitem__")


def final_pools(flow: Flow) -> set[int]:
    """Return the indices of the final pools over the whole clip.

    They are the adaptive pools and the means in a forward whose output is not combined with
    frames again, and the windows whose output a function in a forward averages over time.
    """
    found = set()
    for number, call in enumerate(flow.calls):
        if isinstance(call.module, POOLS):
            if one_frame(call.module) and not meets_frames(flow, number):
                found.add(number)
        elif covers_clip(call) and not meets_frames(flow, number):
            found.add(number)
        elif call.seen in KINDS and (windows := window_before(flow, call)):
            found |= windows
        elif call.seen in KINDS and not meets_frames(flow, number):
            found.add(number)
    return found


@dataclass(frozen=True)
class Means:
    """The means, sums and maxima over time in the code of a module, in order.

    Args:
        kinds: "mean", "sum" or "max".
        final: Whether it is a final pool; otherwise its output is used with every frame. None for a
            mean of what a window has averaged.
        reads: Whether the code does away with the axes of a pool for every frame, such as by
            `self.pool(x).view(b, c)`.
    """

    kinds: tuple[str, ...] = ()
    final: tuple[bool | None, ...] = ()
    reads: bool = False


def means(flow: Flow, last: set[int]) -> dict[str, Means]:
    """Return those of every module whose own code has one, by path."""
    found: dict[str, Means] = {}
    for number, call in enumerate(flow.calls):
        if call.seen in KINDS and not call.path:
            old = found.get(call.owner, Means())
            is_end = None if window_before(flow, call) else number in last
            found[call.owner] = Means((*old.kinds, call.seen), (*old.final, is_end))
    for number, call in enumerate(flow.calls):
        if isinstance(call.module, POOLS) and one_frame(call.module) and number not in last:
            for user in (flow.calls[n] for n in call.users):
                if not user.path and len(user.shape) < 5 and user.name in READS:
                    old = found.get(user.owner, Means())
                    found[user.owner] = replace(old, reads=True)
    return {path: one for path, one in found.items() if one.reads or set(one.final) != {None}}


def pads_time(flow: Flow) -> dict[str, set[tuple[int, int, int]]]:
    """Return modules whose own code pads clips with frames, or pools some by these windows."""
    own = [call for call in flow.calls if not call.path and len(call.shape) == 5]
    found: dict[str, set[tuple[int, int, int]]] = {}
    for call in own:
        if call.name == "pad" and call.shape[2] > call.shapes[0][2]:
            found.setdefault(call.owner, set())
        elif isinstance(call.seen, tuple):
            found.setdefault(call.owner, set()).add(call.seen)
    return found


def meets_frames(flow: Flow, number: int) -> bool:
    """Whether the output of a call is combined with a feature map that was not made of it."""
    after = flow.after(number)
    made = {number, *after}
    return any(
        has_places(shape) and source not in made
        for n in after
        for source, shape in zip(flow.calls[n].sources, flow.calls[n].shapes, strict=True)
    )


def covers_clip(call: Node) -> bool:
    """Whether a window of a fixed size averages all frames of the clip, and leaves one."""
    if not isinstance(call.module, nn.AvgPool3d) or len(call.shapes[0]) != 5:
        return False
    frames = call.shapes[0][2]
    return call.shape[2] == 1 and frames > 1 and triple(call.module.kernel_size)[0] == frames


def one_frame(pool: nn.Module) -> bool:
    size: Any = pool.output_size
    return (size if isinstance(size, int) else size[0]) == 1


def has_places(shape: tuple[int, ...]) -> bool:
    return len(shape) > 3 and math.prod(shape[2:]) > 1


def window_before(flow: Flow, call: Node) -> set[int]:
    """Return the nearest average pool before a call with only modules in between."""
    while call.sources and (number := call.sources[0]) >= 0:
        call = flow.calls[number]
        if isinstance(call.module, nn.AvgPool3d):
            return {number}
        if not call.path or isinstance(call.module, nn.MaxPool3d):
            break
    return set()


def readers(flow: Flow, pools: set[int]) -> dict[str, nn.Linear]:
    """Return the linear layers that read the outputs of the final pools, by path."""
    calls = [flow.calls[later] for n in pools for later in flow.after(n)]
    return {call.path: call.module for call in calls if isinstance(call.module, nn.Linear)}


def stay_within_frames(pool: Any) -> bool:
    """Cut a window to one frame; return whether that changed it."""
    kernel, pad = triple(pool.kernel_size), triple(pool.padding)
    stride = kernel if pool.stride is None else triple(pool.stride)
    if (kernel[0], stride[0]) == (1, 1):
        return False
    pool.kernel_size, pool.stride = (1, *kernel[1:]), (1, *stride[1:])
    pool.padding = (0, *pad[1:])
    if isinstance(pool, nn.MaxPool3d):
        pool.dilation = (1, *triple(pool.dilation)[1:])
    elif pool.divisor_override is not None:
        pool.divisor_override = max(pool.divisor_override // kernel[0], 1)
    return True


def pool_over_clip(pool: Any, how: Dissect, is_end: bool) -> nn.Module:
    """Return the running pool that replaces a pool over all frames.

    Args:
        is_end: It is a final pool; otherwise its output is used with every frame.
    """
    if isinstance(pool, nn.AdaptiveMaxPool3d):
        largest: Any = pool.output_size
        plane = (largest, largest) if isinstance(largest, int) else largest[1:]
        return MaxSoFar(nn.AdaptiveMaxPool3d((None, *plane)), last=is_end)
    if not is_end:
        return RunningMean()
    if isinstance(pool, nn.AdaptiveAvgPool3d):
        size: Any = pool.output_size
        sides = (size, size) if isinstance(size, int) else size[1:]
        within: nn.Module = nn.AdaptiveAvgPool3d((None, *sides))
    else:
        within = copy.copy(pool)
        vars(within).update(vars(nn.Module()))  # the hooks are those of the pool that it replaces
        stay_within_frames(within)
    return MeanSoFar(within) if how.head == "mean" else LastFrames(within, how.window, how.first)


@torch.no_grad()
def spread_over_frames(linear: nn.Linear, frames: int) -> None:
    """Make a linear layer read consecutive frames, with a share of the weights for each."""
    weight = linear.weight.detach() / frames
    flag = linear.weight.requires_grad
    linear.weight = nn.Parameter(weight.repeat(1, frames), requires_grad=flag)
    linear.in_features *= frames
