"""Means and extremes over all frames in a step of a delayed network: over those so far.

Axes: B batch (streams), C channels, T time.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lean3d.ops.memory import precisely
from lean3d.streaming.delayed_step import Frames, frames_of, marked
from lean3d.streaming.layout import apart, over, put_back
from lean3d.streaming.timing import Pooled, Timed

__all__ = ["last", "latest_carried", "maximum", "mean", "over_time"]

# (B, C, T, ...) -> (B, C, ...)
Pool = Callable[[Frames, Tensor, Timed], tuple[Tensor, float]]


def over_time(step: Frames, x: Tensor, pool: Pool) -> Tensor:
    """Return a map with one frame, or one row of values per frame."""
    given: Any = frames_of(x)
    y, field = pool(step, apart(x, given), replace(given, batch=0, axis=2, each=1))
    y = put_back(y.to(x.dtype).unsqueeze(2), given, x.ndim)
    return marked(y, Pooled(step.clock.late(given), field, given.batch))


def mean(step: Frames, x: Tensor, given: Timed) -> tuple[Tensor, float]:
    if step.window:
        return recent_mean(step, x, given)
    seen_B, outside_BT = seen(step, x, given)
    slot, precise = step.site("mean"), precisely(x)
    old = step.memory.read(slot, torch.zeros_like(precise[:, :, 0]))
    off = over(outside_BT, given, x.ndim)
    change = (precise - old.unsqueeze(2)).masked_fill(off, 0.0).sum(2)
    new = old + change / seen_B.clamp(min=1).view(-1, *[1] * (change.ndim - 1))
    step.memory.write(slot, new, "recurrent")
    return new, torch.inf


def recent_mean(step: Frames, x: Tensor, given: Timed) -> tuple[Tensor, float]:
    x, outside_BT, field = recent(step, x, given)
    total = precisely(x).masked_fill(over(outside_BT, given, x.ndim), 0.0).sum(2)
    count_B = (~outside_BT).sum(1).clamp(min=1)
    return total / count_B.view(-1, *[1] * (total.ndim - 1)), field


def maximum(step: Frames, x: Tensor, given: Timed) -> tuple[Tensor, float]:
    if step.window:
        x, outside_BT, field = recent(step, x, given)
        return x.masked_fill(over(outside_BT, given, x.ndim), -torch.inf).amax(2), field
    seen_B, outside_BT = seen(step, x, given)
    here = x.masked_fill(over(outside_BT, given, x.ndim), -torch.inf).amax(2)
    blank = torch.full_like(here, -torch.inf)
    slot, begins = step.site("max"), (seen_B - (~outside_BT).sum(1)) <= 0
    old = step.memory.read(slot, blank)
    # a state that was not used yet is all zeros
    old = torch.where(begins.view(-1, *[1] * (old.ndim - 1)), blank, old)
    new = torch.maximum(old, here)
    step.memory.write(slot, new, "recurrent")
    return new, torch.inf


def last(step: Frames, x: Tensor, given: Timed) -> tuple[Tensor, float]:
    """Return the last frame so far."""
    _, outside_BT = seen(step, x, given)
    return latest_carried(step, x, outside_BT, given), given.field


def latest_carried(step: Frames, x: Tensor, outside_BT: Tensor, given: Timed) -> Tensor:
    slot = step.site("last")
    old = step.memory.read(slot, torch.zeros_like(x[:, :, 0]))
    # the frames of a video are consecutive
    place_T = torch.arange(1, x.shape[2] + 1, device=x.device)
    place_B = (place_T * ~outside_BT).amax(1)
    where = (place_B - 1).clamp(min=0)[:, None]
    here = x.gather(2, over(where, given, x.ndim).expand(*x.shape[:2], 1, *x.shape[3:])).squeeze(2)
    new = torch.where((place_B > 0).view(-1, *[1] * (here.ndim - 1)), here, old)
    step.memory.write(slot, new, "recurrent")
    return new


def seen(step: Frames, x: Tensor, given: Timed) -> tuple[Tensor, Tensor]:
    """Return (B,) video frames up to the end of this step, and (B, T) which frames are outside."""
    first_B = step.clock.before(given)
    outside_BT = step.outside(first_B, x.shape[2], given)
    before_B = first_B.clamp(min=0)
    if given.length is not None:
        before_B = before_B.minimum(given.length)
    seen_B = before_B + (~outside_BT).sum(1)
    step.alive = step.alive & (seen_B > 0)
    return seen_B, outside_BT


def recent(step: Frames, x: Tensor, given: Timed) -> tuple[Tensor, Tensor, float]:
    """Return the window's last frames, which of them are outside, and the frames they depend on."""
    window = step.window or 0
    spans = max(1, window * given.rate // step.clock.chunk)
    if spans > given.rate:
        x = step.memory.window(step.site("past"), step.clean(x, given), spans - given.rate, 0.0)
    x = x[:, :, -spans:]
    first_B = step.clock.before(given) - (spans - given.rate)
    outside_BT = step.outside(first_B, spans, given)
    step.alive = step.alive & ~outside_BT[:, -given.rate :].all(1)
    return x, outside_BT, given.field + window - 1
