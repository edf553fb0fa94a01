"""Replaces clip-level means inside a forward by running means.

Axes: B batch, C channels, T time, H height, W width.
"""

import threading
from collections.abc import Callable, Set
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from lean3d.conversion.causal.method import Dissect
from lean3d.conversion.causal.pools import Means, pool_over_clip
from lean3d.conversion.causal.spellings import MAXIMA, SQUEEZES, Axes, Reduced, window_of
from lean3d.conversion.surgery.subclass import Mixed, mixed
from lean3d.conversion.to3d.base import refusal_at
from lean3d.conversion.to3d.merged.active import innermost, volume
from lean3d.conversion.trace.graph import Look
from lean3d.ops.causal_pools import RunningMax, RunningMean
from lean3d.shape import triple
from lean3d.torch_functions import RESHAPE_CALLS, Trait, having
from lean3d.tracer import Args, Function, Kwargs

__all__ = ["follow_frames", "stay_within"]

MEANS = having(Trait.AVERAGES) - having(Trait.CLIP_WINDOW)
TO_ROWS = {*RESHAPE_CALLS, *SQUEEZES, torch.flatten, Tensor.flatten, Tensor.__getitem__}


class Rows:
    """Means that have no axis for frames, such as (B, C): one row for each frame, (B * T, C).

    What is made of them is a row for each frame too, until it meets a map (B, C, T, H, W).
    """

    def __init__(self) -> None:
        # with the tensor: an id is valid while it lives
        self.known: dict[int, tuple[Tensor, int]] = {}

    def begun(self, mean_BCT11: Tensor) -> Tensor:
        row_NC = mean_BCT11.flatten(2).transpose(1, 2).flatten(0, 1)
        return self.kept(row_NC, mean_BCT11.shape[2])

    def kept_as(self, x: Tensor, mean_BCT11: Tensor) -> Tensor:
        return self.kept(x, mean_BCT11.shape[2])

    def among(self, args: Args, kwargs: Kwargs) -> bool:
        return bool(self.known) and any(id(x) in self.known for x in tree_leaves((args, kwargs)))

    def call(self, function: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        given = tree_leaves((args, kwargs))
        own, frames = next(self.known[id(x)] for x in given if id(x) in self.known)
        maps = [x for x in given if isinstance(x, Tensor) and x.ndim == 5]
        maps = [x for x in maps if id(x) not in self.known]
        if maps and all(self._is_map(x) for x in given if id(x) in self.known):
            as_maps = lambda x: _as_map(x, frames) if id(x) in self.known else x  # noqa: E731
            args, kwargs = tree_map(as_maps, (args, kwargs))
            return function(*args, **kwargs)
        if maps:
            among = set(map(id, maps))
            as_rows = lambda x: _as_rows(x) if id(x) in among else x  # noqa: E731
            args, kwargs = tree_map(as_rows, (args, kwargs))
        if function in RESHAPE_CALLS and len(args) > 1:
            args = (args[0], *_all_rows(args[0], frames, args[1:]))
        if function in SQUEEZES and len(args) == 1 and not kwargs:
            # a clip may be alone, and a step has one frame
            args = (*args, [axis for axis in range(1, own.ndim) if own.shape[axis] == 1])
        answer = function(*args, **kwargs)
        if not isinstance(answer, Tensor) or answer.shape[:1] != own.shape[:1]:
            return answer
        if maps and answer.ndim == 5 and answer.shape[2] == 1:
            return _as_map(answer, frames)
        return self.kept(answer, frames)

    def _is_map(self, x: Tensor) -> bool:
        return x.ndim == 5 and x.shape[2] == 1

    def kept(self, x: Tensor, frames: int) -> Tensor:
        self.known[id(x)] = x, frames
        return x


def _as_map(x: Tensor, frames: int) -> Tensor:
    """Return (B * T, C, 1, ...) as (B, C, T, ...)."""
    return x.unflatten(0, (-1, frames)).transpose(1, 2).squeeze(3)


def _as_rows(x_BCTHW: Tensor) -> Tensor:
    """Return (B, C, T, H, W) as (B * T, C, 1, H, W)."""
    return x_BCTHW.transpose(1, 2).flatten(0, 1).unsqueeze(2)


def _loses_frames(function: Callable[..., Any], args: Args, kwargs: Kwargs) -> bool:
    """Whether a mean (B, C, T, 1, 1) is to be (B, C), as that of the clip, (B, C, 1, 1, 1)."""
    x = args[0]
    if not isinstance(x, Tensor) or x.ndim != 5 or tuple(x.shape[3:]) != (1, 1):
        return False
    if function in SQUEEZES:
        return True
    if function is Tensor.__getitem__:
        key = args[1] if isinstance(args[1], tuple) else (args[1],)
        return any(type(part) is int for part in key)
    if function not in RESHAPE_CALLS:
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


# the modes of the forwards that run, the innermost last
_LOCAL = threading.local()


class _Follow(TorchFunctionMode):
    """Replaces the means over time of one forward by means over the frames so far.

    Args:
        owner: The module whose forward it is.
    """

    def __init__(self, owner: "Following"):
        super().__init__()
        self.owner, self.axes, self.rows = owner, Axes(owner.windowed), Rows()
        # of the means over time that come, in order, which are final pools
        self.final = iter(owner.final)

    def __enter__(self) -> "_Follow":
        self.outer = getattr(_LOCAL, "running", None)
        _LOCAL.running = self
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        _LOCAL.running = self.outer
        super().__exit__(*error)

    def __torch_function__(
        self, function: Function, types: object, args: Args = (), kwargs: Kwargs | None = None
    ):
        kwargs = kwargs or {}
        # a module inside has its own
        if _LOCAL.running is not self:
            return function(*args, **kwargs)
        if self.rows.among(args, kwargs):
            return self.rows.call(function, args, kwargs)
        if (
            (self.owner.reads or False in self.owner.final)
            and function in TO_ROWS
            and _loses_frames(function, args, kwargs)
        ):
            rows = self.rows.begun(args[0])[..., None, None, None]
            return self.rows.call(function, (self.rows.kept_as(rows, args[0]), *args[1:]), kwargs)
        if (found := self.axes.over_time(function, args, kwargs)) is not None:
            answer = self.so_far(found)
            if answer is not None:
                # places in time are none of the frames so far
                places = function in MAXIMA
                return torch.return_types.max((answer, None)) if places else answer  # type: ignore[arg-type]
        answer = function(*args, **kwargs)
        self.axes.note(function, args, kwargs, answer)
        if (x_BCTHW := _merged(function, args, kwargs)) is not None:
            return self.of_merged(x_BCTHW, args[0], answer)
        return answer

    def so_far(self, found: Reduced) -> Tensor | None:
        """Return a mean over time of the frames so far: for the last frame, or for each."""
        is_end = next(self.final, None)
        if is_end is None:
            return None
        x_BFT = found.x
        # a forward divides its sum by the number of frames, or the self-check refuses it
        times = x_BFT.shape[2] if found.kind == "sum" else 1
        if found.kind == "max":
            mean_BFT = self.owner.peak_so_far(x_BFT)
            if is_end:
                return found.last(mean_BFT[:, :, -1])
        elif is_end:
            last_BF = self.owner.frames_so_far(x_BFT[..., None, None]).flatten(1)
            return found.last(last_BF * times if times > 1 else last_BF)
        else:
            mean_BFT = self.owner.for_each(x_BFT)
            mean_BFT = mean_BFT * times if times > 1 else mean_BFT
        if found.time is not None:
            return found.spread(mean_BFT)
        return self.rows.kept(found.rows(mean_BFT), mean_BFT.shape[2])

    def of_merged(self, x_BCTHW: Tensor, x: Tensor, answer: Tensor) -> Tensor:
        is_end = next(self.final, None)
        if is_end is None or (not is_end and answer.ndim != x.ndim):
            return answer  # there is no axis for frames; the self-check will refuse it
        if is_end:
            mean_BCT11 = x_BCTHW.mean((3, 4), keepdim=True)
            last = self.owner.frames_so_far(mean_BCT11)
            return last.reshape(answer.shape[0], -1, *answer.shape[2:])
        mean_BCT = self.owner.for_each(x_BCTHW.mean((3, 4)))
        return innermost().merge_depth(mean_BCT[..., None, None].expand_as(x_BCTHW))


def _merged(function: Function, args: Args, kwargs: Kwargs) -> Tensor | None:
    """Return the map that a call averages whole, if its frames are merged into another axis."""
    if function not in MEANS or not args or not whole(function, args[0], args[1:], kwargs):
        return None
    x_BCTHW = volume(args[0])
    return x_BCTHW if x_BCTHW is not args[0] and x_BCTHW.ndim == 5 else None


class Spots(Look):
    """Finds the means over time of a run, as the forwards find them afterwards."""

    def __init__(self) -> None:
        self.axes = Axes()
        self.given: dict[str, tuple[str, ...]] = {}

    def entered(self, path: str, args: Args) -> None:
        axes = self.axes.axes_of(args[0]) if args else None
        if axes is not None:
            self.given[path] = axes

    def called(self, function: Function, args: Args, kwargs: Kwargs, result: Any) -> Any:
        """Return "mean", "sum" or "max" over time, a window over some frames, or None."""
        found = self.axes.over_time(function, args, kwargs)
        merged = _merged(function, args, kwargs)
        self.axes.note(function, args, kwargs, result)
        if found is not None:
            return found.kind
        return window_of(function, args, kwargs) if merged is None else "mean"


def whole(function: object, x: Tensor, args: Args, kwargs: Kwargs) -> bool:
    """Whether it averages over every position of the maps (B, C, ...)."""
    if function in (torch.mean, Tensor.mean):
        axes = kwargs.get("dim", args[0] if args else None)
        axes = [axes] if isinstance(axes, int) else axes or ()
        return sorted(axis % x.ndim for axis in axes) == list(range(2, x.ndim))
    size = kwargs.get("output_size", args[0] if args else None)
    return size == 1 or (isinstance(size, (tuple, list)) and set(size) == {1})


class _WithinFrames(TorchFunctionMode):
    """Pads each frame, and no clip with frames: causal kernels bring their own past.

    Args:
        windows: Of pools over time, which are cut to one frame.
    """

    def __init__(self, windows: Set[tuple[int, int, int]]):
        super().__init__()
        self.windows = windows

    def __torch_function__(
        self, function: Function, types: object, args: Args = (), kwargs: Kwargs | None = None
    ):
        kwargs = dict(kwargs or {})
        if function is F.pad and args and args[0].ndim == 5:
            given = list(kwargs.pop("pad", args[1] if len(args) > 1 else ()))
            return function(
                args[0], [*given[:4], *([0, 0] if given[4:] else [])], *args[2:], **kwargs
            )
        if self.windows and window_of(function, args, kwargs) in self.windows:
            return _cut(function, *args, **kwargs)
        return function(*args, **kwargs)


def _cut(
    function: Function,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *more: Any,
    **named: Any,
) -> Any:
    """Call a pool with a window of one frame."""
    kernel, steps = triple(kernel_size), triple(stride or kernel_size)
    sizes = (1, *kernel[1:]), (1, *steps[1:]), (0, *triple(padding)[1:])
    if (divisor := named.get("divisor_override")) is not None:
        named["divisor_override"] = max(divisor // kernel[0], 1)
    if "dilation" in named:
        named["dilation"] = (1, *triple(named["dilation"])[1:])
    return function(x, *sizes, *more, **named)


class PaddingFrames(Mixed):
    """A module whose own forward pads a clip, or slides windows over some of its frames."""

    windows: Set[tuple[int, int, int]] = frozenset()

    def forward(self, *args: object, **kwargs: object) -> Any:
        with _WithinFrames(self.windows):
            return super().forward(*args, **kwargs)  # type: ignore[misc]


def stay_within(module: nn.Module, windows: Set[tuple[int, int, int]]) -> tuple[str, str]:
    """Keep a module's own padding and windows within each frame; return its old and new names."""
    kind = type(module)
    if isinstance(module, GraphModule):
        raise refusal_at("", module, "its graph pads time; use the padding of nn.Conv3d")
    if windows:
        vars(module)["windows"] = frozenset(windows)
    module.__class__ = mixed(PaddingFrames, kind)
    what = "windows" if windows else "padding"
    return kind.__name__, f"{kind.__name__}, its {what} within a frame"


class Following(Mixed):
    """A module whose own forward averages a clip.

    Attributes:
        frames_so_far: The final pool, or the running mean if there is none.
        frames_beside: The running mean for each frame, if there is a final pool too.
        peak_so_far: The running maximum, if there is one.
        final: Of each mean or maximum over time of the forward, whether it is a final pool.
        reads: Whether it does away with the axes of a pool for every frame.
        windowed: Whether a window is one of them.
        given: The axes of its input, if that is no clip.
    """

    frames_so_far: nn.Module
    frames_beside: nn.Module
    peak_so_far: nn.Module
    reads: bool
    final: tuple[bool | None, ...]
    windowed: bool
    given: tuple[str, ...] | None = None

    def forward(self, *args: object, **kwargs: object) -> Any:
        with _Follow(self) as follow:
            if self.given and args and isinstance(args[0], Tensor):
                follow.axes.begin(args[0], self.given)
            return super().forward(*args, **kwargs)  # type: ignore[misc]

    def for_each(self, x_BFT: Tensor) -> Tensor:
        """Return the mean so far for every frame."""
        beside = "frames_beside" in self._modules  # type: ignore[attr-defined]
        mean_BFT: Tensor = (self.frames_beside if beside else self.frames_so_far)(x_BFT)
        return mean_BFT


def follow_frames(
    module: nn.Module,
    how: Dissect,
    found: Means,
    windowed: bool,
    given: tuple[str, ...] | None = None,
) -> tuple[str, str]:
    """Replace a module's own means over the clip by running means; return its old and new names.

    Args:
        found: What they are.
        windowed: A window is one of them.
        given: The axes of its input, if that is no clip.
    """
    kind = type(module)
    if isinstance(module, GraphModule):
        raise refusal_at("", module, "its graph averages time; use nn.AdaptiveAvgPool3d")
    kinds = set(zip(found.kinds, found.final, strict=True))
    final = any(kind != "max" and is_end for kind, is_end in kinds)
    if how.head == "window" and ("max", True) in kinds:
        raise refusal_at("", module, "its maximum over time has no window; use head='mean'")
    # the mean over a frame is taken before it
    pool = pool_over_clip(nn.AdaptiveAvgPool3d((1, None, None)), how, final)
    module.add_module("frames_so_far", pool.train(module.training))
    if final and any(kind != "max" and is_end is False for kind, is_end in kinds):
        module.add_module("frames_beside", RunningMean().train(module.training))
    if "max" in found.kinds:
        module.add_module("peak_so_far", RunningMax().train(module.training))
    more = dict(final=found.final, reads=found.reads, windowed=windowed, given=given)
    vars(module).update(more)
    module.__class__ = mixed(Following, kind)
    return kind.__name__, f"{kind.__name__}, its mean over the clip a {type(pool).__name__}"
