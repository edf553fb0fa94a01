"""Replaces clip-level means inside a forward by running means.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

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
RESHAPES = {torch.reshape, Tensor.reshape, Tensor.view}
TO_ROWS = {*RESHAPES, torch.flatten, Tensor.flatten}


class Rows:
    """Means that have no axis for frames, (B, C): one row for each frame, (B * T, C).

    What is made of them is a row for each frame too, until it meets a map (B, C, T, H, W).
    """

    def __init__(self) -> None:
        # with the tensor: an id is valid while it lives
        self.known: dict[int, tuple[Tensor, int]] = {}

    def begun(self, mean_BCT11: Tensor) -> Tensor:
        row_NC = mean_BCT11.flatten(2).transpose(1, 2).flatten(0, 1)
        return self._kept(row_NC, mean_BCT11.shape[2])

    def kept_as(self, x: Tensor, mean_BCT11: Tensor) -> Tensor:
        return self._kept(x, mean_BCT11.shape[2])

    def among(self, args: Any, kwargs: Any) -> bool:
        return bool(self.known) and any(id(x) in self.known for x in tree_leaves((args, kwargs)))

    def call(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        given = tree_leaves((args, kwargs))
        frames = next(self.known[id(x)][1] for x in given if id(x) in self.known)
        if any(isinstance(x, Tensor) and x.ndim == 5 and id(x) not in self.known for x in given):
            args, kwargs = tree_map(self._beside_maps, (args, kwargs))
            return function(*args, **kwargs)
        if function in RESHAPES and len(args) > 1:
            args = (args[0], *_all_rows(args[0], frames, args[1:]))
        answer = function(*args, **kwargs)
        rows = isinstance(answer, Tensor) and answer.shape[:1] == args[0].shape[:1]
        return self._kept(answer, frames) if rows else answer

    def _beside_maps(self, x: Any) -> Any:
        """Return (B * T, C, 1, 1, 1) as (B, C, T, 1, 1)."""
        if id(x) not in self.known or x.ndim != 5 or x.shape[2:] != (1, 1, 1):
            return x
        frames = self.known[id(x)][1]
        return x.unflatten(0, (-1, frames)).transpose(1, 2).squeeze(3)

    def _kept(self, x: Tensor, frames: int) -> Tensor:
        self.known[id(x)] = x, frames
        return x


def _loses_frames(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bool:
    """Whether a mean (B, C, T, 1, 1) is to be (B, C), as that of the clip, (B, C, 1, 1, 1)."""
    x = args[0]
    if not isinstance(x, Tensor) or x.ndim != 5 or tuple(x.shape[3:]) != (1, 1):
        return False
    if function not in RESHAPES:
        return (args[1:], kwargs) in (((1,), {}), ((), {"start_dim": 1}))
    sizes = list(args[1]) if len(args) == 2 and isinstance(args[1], tuple | list) else args[1:]
    if kwargs or len(sizes) != 2:
        return False
    clips, channels = x.shape[:2]
    return sizes[0] in (clips, -1) and sizes[1] in (channels, -1)


def _all_rows(x: Tensor, frames: int, sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the sizes of a reshape, with rows instead of the clips that the forward counts."""
    listed = list(sizes[0]) if isinstance(sizes[0], tuple | list) else list(sizes)
    if all(isinstance(size, int) for size in listed) and listed[0] * frames == x.shape[0]:
        listed[0] = x.shape[0]
        return (listed,)
    return sizes


class _Follow(TorchFunctionMode):
    """Replaces means over all of a map by means over the frames so far."""

    def __init__(self, pool: nn.Module, windowed: bool):
        super().__init__()
        self.pool, self.axes, self.rows = pool, Axes(windowed), Rows()

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

    def within(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return the mean of the frames so far for each of them, of a mean used with the frames."""
        if self.rows.among(args, kwargs):
            return self.rows.call(function, args, kwargs)
        if function in TO_ROWS and _loses_frames(function, args, kwargs):
            rows = self.rows.begun(args[0])[..., None, None, None]
            return self.rows.call(function, (self.rows.kept_as(rows, args[0]), *args[1:]), kwargs)
        answer = function(*args, **kwargs)
        if function not in MEANS or not args or not whole(function, args[0], args[1:], kwargs):
            return answer
        x_BCTHW = volume(args[0])
        return self.beside(x_BCTHW, args[0], answer) if x_BCTHW.ndim == 5 else answer

    def beside(self, x_BCTHW: Tensor, x: Tensor, answer: Tensor) -> Tensor:
        """Return a mean for every frame, laid out as `x` is."""
        if answer.ndim != x.ndim and (x.ndim, answer.ndim) != (5, 2):
            return answer  # there is no axis for frames; the self-check will refuse it
        mean_BCT11 = self.pool(x_BCTHW)
        if answer.ndim != x.ndim:
            return self.rows.begun(mean_BCT11)
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
