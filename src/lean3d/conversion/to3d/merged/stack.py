"""Depth merged into the batch, for forwards that use neighbours.

Axes: B batch, C channels, D depth, H height, W width.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.conversion.to3d.base import DepthMerge
from lean3d.conversion.to3d.merged.active import active
from lean3d.conversion.to3d.merged.call import Same
from lean3d.conversion.to3d.merged.sides import mark
from lean3d.conversion.trace.trial_run import in_trial
from lean3d.shape import same_padding

__all__ = ["Stack"]


@dataclass
class Padded:
    """A tensor that a forward has padded.

    Args:
        ends: Its padding along depth.
        before: Returns the volume padded along height and width alone.
        doubtful: Nothing but the sizes that the forward computes says `ends`.
    """

    tensor: Callable[[], Tensor | None]
    ends: tuple[int, int]
    mode: str = "constant"
    value: float = 0.0
    before: Callable[[], Tensor] | None = None
    doubtful: bool = False


class Stack:
    """Depth merged into the batch: (B, C, D, H, W) as (B*D, C, H, W); other tensors are unchanged.

    `batch` is B; a tensor's depth is its first axis divided by B.
    """

    def __init__(self, merge: DepthMerge):
        self.merge, self.batch, self.calls, self.windows = merge, 0, 0, 0
        self.pads: list[Padded] = []
        # sizes carry depth where it counts, and while it is found out whether it does
        self.carries = merge.carries or (in_trial() and not torch.compiler.is_compiling())
        self.doubtful = False
        self.seen: list[tuple[int, int, int]] = []  # H, W, D

    def enter(self, x: object) -> Any:
        return self.merge_depth(x, 1 if self.merge.channels_last_in else 2)

    def merge_depth(self, x: Any, place: int = 2) -> Any:
        if not isinstance(x, Tensor) or x.ndim != 5:
            return x
        self.batch = x.shape[0]
        depth, height, width = x.shape[place : place + 3]
        self.seen.append((height, width, depth))
        merged = x.transpose(1, place).flatten(0, 1)
        return mark(merged) if self.carries else merged

    def split_depth(self, x: object) -> Any:
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[0] % self.batch:
            return x
        volume = x.reshape(self.batch, -1, *x.shape[1:]).transpose(1, 2)
        # torch's tracer and its kernels disagree on the strides that result from this view's
        return volume.contiguous() if torch.compiler.is_compiling() else volume

    def leave(self, x: object) -> Any:
        if isinstance(x, Tensor) and x.ndim == 4 and not self.merge.channels_last_out:
            return self.split_depth(x)
        if not isinstance(x, Tensor) or x.ndim == 0 or x.shape[0] % self.batch:
            return x
        if x.shape[0] == self.batch and x.ndim < 4:
            return x
        slices = x.reshape(self.batch, -1, *x.shape[1:])
        return slices.mean(1) if x.ndim == 2 else slices

    def depth_of(self, height: int, width: int) -> int | None:
        """Return the depth of the volume that was seen with these other sizes."""
        around = [stack for stack in active() if isinstance(stack, Stack)]
        for stack in reversed(around):
            for tall, wide, depth in stack.seen:
                if (tall, wide) == (height, width):
                    return depth
        return None

    def note_padding(self, x: Tensor, ends: tuple[int, int], **more: Any) -> None:
        """Remember the padding of a tensor for the window that reads it, see `padded_for`."""
        tensor = (lambda: x) if torch.compiler.is_compiling() else weakref.ref(x)
        self.pads.append(Padded(tensor, ends, **more))

    def padded_for(self, window: Same, x: Tensor, x_BCDHW: Tensor) -> Tensor:
        """Pad depth for ceil(D / stride) outputs, as the forward padded height and width of `x`."""
        known = (pad for pad in self.pads if pad.tensor() is x)
        pad = next(known, Padded(lambda: x, (0, 0), value=window.beyond))
        pad.doubtful, (front, back), mode = False, pad.ends, pad.mode
        if min(front, back) < 0 and pad.before is not None:
            x_BCDHW, front, back = pad.before(), 0, 0
        depth = x_BCDHW.shape[2] - front - back
        wanted = same_padding(depth, window.kernel, window.stride, window.dilation)
        if (front, back) == wanted:
            return x_BCDHW
        if mode == "constant" and (self.merge.constant_axis == 0 or self.repeats):
            mode = "replicate"
        fill = {"value": pad.value} if mode == "constant" else {}
        return F.pad(x_BCDHW.narrow(2, front, depth), (0, 0, 0, 0, *wanted), mode, **fill)

    def doubts(self) -> bool:
        """Whether a size along depth is known from nothing but what the forward computed."""
        return self.doubtful or any(pad.doubtful for pad in self.pads)

    @property
    def repeats(self) -> bool:
        """Whether depth is padded by its border slices."""
        return self.merge.how.depth_padding == "replicate"
