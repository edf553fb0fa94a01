"""Temporal pools: windows are cut to one frame; the final pool becomes a running one.

Axes: B batch, C channels, T time, H height, W width, K classes.
"""

import copy
import math
from typing import Any

import torch
from torch import nn

from lean3d.conversion.causal.method import Dissect
from lean3d.conversion.trace.graph import Call, Flow
from lean3d.ops.causal_pools import LastFrames, MeanSoFar, RunningMean
from lean3d.shape import triple
from lean3d.torch_functions import Trait

__all__ = [
    "WINDOWED",
    "ends",
    "pool_over_clip",
    "readers",
    "spread_over_frames",
    "stay_within_frames",
    "within",
]

WINDOWED = (nn.MaxPool3d, nn.AvgPool3d)


def ends(flow: Flow) -> set[int]:
    """Return the indices of the final pools over the whole clip.

    They are the adaptive pools and the means in a forward whose output is not combined with
    frames again, and the windows whose output a function in a forward averages over time.
    """
    found = set()
    for number, call in enumerate(flow.calls):
        if isinstance(call.module, nn.AdaptiveAvgPool3d):
            if one_frame(call.module) and not meets_frames(flow, number):
                found.add(number)
        elif covers_clip(call) and not meets_frames(flow, number):
            found.add(number)
        elif windows := averages_time(call) and window_before(flow, call):
            found |= windows
        elif averages_all(flow, call) and not meets_frames(flow, number):
            found.add(number)
    return found


def within(flow: Flow) -> set[str]:
    """Return modules whose own code averages the clip and combines the result with the frames.

    Or removes the axes of a pool that does, such as by `self.pool(x).view(b, c)`.
    """
    back = [call for n, call in enumerate(flow.calls) if meets_frames(flow, n)]
    found = {call.owner for call in back if averages_all(flow, call)}
    pools = (c for c in back if isinstance(c.module, nn.AdaptiveAvgPool3d) and one_frame(c.module))
    readers = (flow.calls[user] for pool in pools for user in pool.users)
    return found | {
        c.owner for c in readers if Trait.RESHAPES in c.traits and not c.path and len(c.shape) == 2
    }


def pads_time(flow: Flow) -> set[str]:
    """Return modules whose own code pads clips with frames."""
    padded = (c for c in flow.calls if not c.path and c.name == "pad" and len(c.shape) == 5)
    return {call.owner for call in padded if call.shape[2] > call.shapes[0][2]}


def meets_frames(flow: Flow, number: int) -> bool:
    """Whether the output of a call is combined with a feature map again."""
    return any(has_places(shape) for n in flow.after(number) for shape in flow.calls[n].shapes)


def averages_all(flow: Flow, call: Call) -> bool:
    """Whether a function in a forward averages the last places of maps.

    The maps may have their frames merged into the batch, their places merged into one axis, or be
    averaged over other axes before.
    """
    if Trait.AVERAGES not in call.traits or math.prod(call.shape[2:]) != 1:
        return False
    if not call.shapes or math.prod(call.shapes[0][2:]) == 1:
        return False
    while not has_places(call.shapes[0]) and call.sources[0] >= 0:
        call = flow.calls[call.sources[0]]
        if not (is_mean(call) or Trait.RESHAPES in call.traits):
            return False
    return has_places(call.shapes[0])


def covers_clip(call: Call) -> bool:
    """Whether a window of a fixed size averages all frames of the clip, and leaves one."""
    if not isinstance(call.module, nn.AvgPool3d) or len(call.shapes[0]) != 5:
        return False
    frames = call.shapes[0][2]
    return call.shape[2] == 1 and frames > 1 and triple(call.module.kernel_size)[0] == frames


def one_frame(pool: nn.AdaptiveAvgPool3d) -> bool:
    size: Any = pool.output_size
    return (size if isinstance(size, int) else size[0]) == 1


def is_mean(call: Call) -> bool:
    """Whether a function averages, other than by a window."""
    return Trait.AVERAGES in call.traits and Trait.CLIP_WINDOW not in call.traits


def has_places(shape: tuple[int, ...]) -> bool:
    return len(shape) > 3 and math.prod(shape[2:]) > 1


def averages_time(call: Call) -> bool:
    """Whether a function pools over time by itself."""
    if not is_mean(call) or not call.shapes or len(call.shapes[0]) != 5:
        return False
    return len(call.shape) < 4 or call.shape[2] == 1


def window_before(flow: Flow, call: Call) -> set[int]:
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
