"""Means, sums and extremes over axes, including time, in a step of a delayed network.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.streaming.delayed_step import Frames, Rule, frames_of, marked
from lean3d.streaming.layout import placed
from lean3d.streaming.pooling import Pool, maximum, mean, over_time
from lean3d.streaming.timing import PLAIN, Timed

__all__ = ["ADAPTIVE", "REDUCTIONS"]


def reduced(function: Callable[..., Tensor], pool: Pool | None) -> Rule:
    """Run a reduction; over frames by `pool`, refused without one."""

    def rule(
        step: Frames, x: Tensor, dim: Any = None, keepdim: bool = False, **more: object
    ) -> Any:
        frames: Any = frames_of(x)
        dim = more.pop("axis", dim)
        if isinstance(dim, Tensor):
            return step.join(function, (x, dim), {})
        if more.get("dtype") is not None:
            step.refuse(function, "is of another precision")
        axes = [dim] if isinstance(dim, int) else dim or range(x.ndim)
        over = sorted({axis % x.ndim for axis in axes})
        if frames.batch in over:
            step.refuse(function, "is over streams")
        if isinstance(frames, Timed) and frames.axis in over:
            x, frames = all_frames(step, x, over, function, pool)
        else:
            x = function(x, over, keepdim=True)
        if keepdim:
            return marked(x, frames)
        return marked(x.squeeze(over), placed(frames, lambda i: i - sum(a < i for a in over)))

    return rule


def all_frames(
    step: Frames, x: Tensor, over: list[int], function: Callable[..., Tensor], pool: Pool | None
) -> tuple[Tensor, Any]:
    """Reduce the axis of frames, after the other axes within each frame."""
    given: Any = frames_of(x)
    if pool is None:
        step.refuse(function, "is over all frames")
    within = [axis for axis in over if axis != given.axis]
    y = function(x, within, keepdim=True) if within else x
    if given.each != 1:
        rows = y.unflatten(given.axis, (y.shape[given.axis] // given.each, given.each))
        y, given = function(rows, [given.axis + 1]), replace(given, each=1)
    y = over_time(step, marked(y.view_as(y), given), pool)
    return y, frames_of(y)


def total(step: Frames, x: Tensor, given: Timed) -> tuple[Tensor, float]:
    """Return the mean times the frames of a step: a forward divides its sum by that number.

    One that does not depends on how many frames there are, and the check of the stream refuses it.
    """
    y, field = mean(step, x, given)
    return y * given.rate, field


def extreme(function: Callable[..., Any], pool: Pool | None) -> Rule:
    """Run torch.max and torch.min: of two maps, or along an axis; over time without indices."""

    def rule(step: Frames, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        frames: Any = frames_of(x)
        if isinstance(dim, Tensor):
            return step.join(function, (x, dim), {})
        time = frames.axis if isinstance(frames, Timed) else None
        if dim is None or dim % x.ndim == frames.batch or (pool is None and dim % x.ndim == time):
            step.refuse(function, "returns indices along time or streams")
        if dim % x.ndim == time:
            values = reduced(torch.amax, pool)(step, x, dim, keepdim)
            return torch.return_types.max((values, None))  # type: ignore[arg-type]
        at = dim % x.ndim
        where = lambda i: i if keepdim else i - (at < i)  # noqa: E731
        return marked(function(x, at, keepdim), placed(frames, where))

    return rule


def adaptive(function: Callable[..., Tensor], pool: Pool) -> Rule:
    """Run an adaptive pool to one frame, or within each."""

    def rule(step: Frames, x: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
        given: Any = frames_of(x)
        size = [output_size] * 3 if isinstance(output_size, int) else list(output_size)
        kept = size[0] is None or getattr(size[0], "whole", False)
        if return_indices or given.place != PLAIN or not (kept or size[0] == 1):
            step.refuse(function, f"pools the video to {size[0]} frames, or returns indices")
        y = marked(function(x, (x.shape[2], size[1], size[2])), given)
        return y if kept else over_time(step, y, pool)

    return rule


def to_one(function: Callable[..., Tensor], pool: Pool) -> Rule:
    """Run an adaptive pool of the last axis to one value."""

    def rule(step: Frames, x: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
        size = output_size if isinstance(output_size, int) else output_size[0]
        if return_indices or size != 1:
            step.refuse(function, f"makes {size} values of all, or returns indices")
        y: Tensor = reduced(torch.mean if pool is mean else torch.amax, pool)(step, x, -1, True)
        return y

    return rule


REDUCTIONS: dict[Any, Rule] = {
    **dict.fromkeys((torch.mean, Tensor.mean), reduced(torch.mean, mean)),
    **dict.fromkeys((torch.amax, Tensor.amax), reduced(torch.amax, maximum)),
    **dict.fromkeys((torch.amin, Tensor.amin), reduced(torch.amin, None)),
    **dict.fromkeys((torch.sum, Tensor.sum), reduced(torch.sum, total)),
    **dict.fromkeys((torch.max, Tensor.max), extreme(torch.max, maximum)),
    **dict.fromkeys((torch.min, Tensor.min), extreme(torch.min, None)),
}
ADAPTIVE: dict[Any, Rule] = {
    F.adaptive_avg_pool1d: to_one(F.adaptive_avg_pool1d, mean),
    F.adaptive_max_pool1d: to_one(F.adaptive_max_pool1d, maximum),
    F.adaptive_avg_pool3d: adaptive(F.adaptive_avg_pool3d, mean),
    F.adaptive_max_pool3d: adaptive(F.adaptive_max_pool3d, maximum),
}
