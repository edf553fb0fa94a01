"""Replaces clip-level means inside a forward by running means.

Axes: B batch, C channels, T time, H height, W width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode

from lean3d.conversion.causal.method import Dissect
from lean3d.conversion.causal.pools import pool_over_clip
from lean3d.conversion.causal.spellings import Axes
from lean3d.conversion.surgery.subclass import Mixed, mixed
from lean3d.conversion.to3d.base import refusal_at
from lean3d.conversion.to3d.merged.modules import innermost, volume
from lean3d.ops.causal_pools import RunningMean
from lean3d.torch_functions import Trait, having

__all__ = ["follow_frames", "pad_within_frames"]

MEANS = having(Trait.AVERAGES) - having(Trait.CLIP_WINDOW)


class _Follow(TorchFunctionMode):
    """Replaces means over all of a map by means over the frames so far."""

    def __init__(self, pool: nn.Module, windowed: bool):
        super().__init__()
        self.pool, self.axes = pool, Axes(windowed)

    def __torch_function__(self, function: Any, types: object, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        if isinstance(self.pool, RunningMean):
            return self.within(function, args, kwargs)
        if (found := self.axes.mean_over_time(function, args, kwargs)) is not None:
            return self.pool(found.x).reshape(found.x.shape[0], -1, *found.shape)
        answer = function(*args, **kwargs)
        self.axes.note(function, args, kwargs, answer)
        if function in MEANS and args and whole(function, args[0], args[1:], kwargs):
            x_BCTHW = volume(args[0])
            # a map of frames that are merged into the batch
            if x_BCTHW.ndim == 5:
                mean_BCT11 = x_BCTHW.mean((3, 4), keepdim=True)
                return self.pool(mean_BCT11).reshape(answer.shape[0], -1, *answer.shape[2:])
        return answer

    def within(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the mean of the frames so far for each of them, of a mean used with the frames."""
        answer = function(*args, **kwargs)
        if function not in MEANS or not args or not whole(function, args[0], args[1:], kwargs):
            return answer
        x_BCTHW = volume(args[0])
        return self.beside(x_BCTHW, args[0], answer) if x_BCTHW.ndim == 5 else answer

    def beside(self, x_BCTHW: Tensor, x: Tensor, answer: Tensor) -> Tensor:
        """Return a mean for every frame, laid out as `x` is."""
        if answer.ndim != x.ndim:  # there is no axis for frames; the self-check will refuse it
            return answer
        mean_BCT11 = self.pool(x_BCTHW)
        return mean_BCT11 if x.ndim == 5 else innermost().fold(mean_BCT11.expand_as(x_BCTHW))


def whole(function: object, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether it averages over every position of the maps (B, C, ...)."""
    if function in (torch.mean, Tensor.mean):
        axes = kwargs.get("dim", args[0] if args else None)
        axes = [axes] if isinstance(axes, int) else axes or ()
        return sorted(axis % x.ndim for axis in axes) == list(range(2, x.ndim))
    size = kwargs.get("output_size", args[0] if args else None)
    return size == 1 or (isinstance(size, (tuple, list)) and set(size) == {1})


class _WithinFrames(TorchFunctionMode):
    """Pads each frame, and no clip with frames: causal kernels bring their own past."""

    def __torch_function__(self, function: Any, types: object, args: Any = (), kwargs: Any = None):
        kwargs = dict(kwargs or {})
        if function is F.pad and args and args[0].ndim == 5:
            given = list(kwargs.pop("pad", args[1] if len(args) > 1 else ()))
            return function(
                args[0], [*given[:4], *([0, 0] if given[4:] else [])], *args[2:], **kwargs
            )
        return function(*args, **kwargs)


class PaddingFrames(Mixed):
    """A module whose own forward pads a clip."""

    def forward(self, *args: object, **kwargs: object) -> Any:
        with _WithinFrames():
            return super().forward(*args, **kwargs)  # type: ignore[misc]


def pad_within_frames(module: nn.Module) -> tuple[str, str]:
    """Keep a module's own padding within each frame; return its old and new names."""
    kind = type(module)
    if isinstance(module, GraphModule):
        raise refusal_at("", module, "its graph pads time; use the padding of nn.Conv3d")
    module.__class__ = mixed(PaddingFrames, kind)
    return kind.__name__, f"{kind.__name__}, its padding within a frame"


class Following(Mixed):
    """A module whose own forward averages a clip."""

    frames_so_far: nn.Module
    windowed: bool

    def forward(self, *args: object, **kwargs: object) -> Any:
        with _Follow(self.frames_so_far, self.windowed):
            return super().forward(*args, **kwargs)  # type: ignore[misc]


def follow_frames(module: nn.Module, how: Dissect, is_end: bool, windowed: bool) -> tuple[str, str]:
    """Replace a module's own means over the clip by running means; return its old and new names.

    Args:
        is_end: They are the final pools; otherwise their output is used with every frame.
        windowed: A window is one of them.
    """
    kind = type(module)
    if isinstance(module, GraphModule):
        raise refusal_at("", module, "its graph averages time; use nn.AdaptiveAvgPool3d")
    # the mean over a frame is taken before it
    pool = pool_over_clip(nn.AdaptiveAvgPool3d((1, None, None)), how, is_end)
    module.add_module("frames_so_far", pool.train(module.training))
    vars(module)["windowed"] = windowed
    module.__class__ = mixed(Following, kind)
    return kind.__name__, f"{kind.__name__}, its mean over the clip a {type(pool).__name__}"
