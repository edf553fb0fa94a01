"""Follows the axes of a clip through a forward, so that a mean over time is found however written.

`x.mean((2, 3, 4))`, `x.mean(-1).mean(-1).mean(-1)`, `x.flatten(2).mean(2)`,
`x.view(B, C, -1).mean(2)`, `F.avg_pool3d(x, x.shape[2:])`, `F.adaptive_avg_pool1d(x.flatten(2), 1)`
are one number.

Axes: B batch, C channels, T time, H height, W width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lean3d.shape import triple
from lean3d.torch_functions import Trait, having

__all__ = ["Axes", "Mean"]

MEANS, WINDOWS = having(Trait.AVERAGES), having(Trait.CLIP_WINDOW)
SQUEEZES = {torch.squeeze, Tensor.squeeze}
RESHAPES = having(Trait.RESHAPES) - SQUEEZES
CLIP = ("T", "H", "W")


@dataclass(frozen=True)
class Mean:
    """A mean over time.

    Args:
        x: (B, C, T, H', W'), the clip averaged over its other axes.
        shape: Of the result, without batch and channels.
    """

    x: Tensor
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Layout:
    """The axes of a tensor after batch and channels, such as ("T", "HW"), and their sizes."""

    axes: tuple[str, ...]
    sizes: tuple[int, int, int]


class Axes:
    """The layout of every tensor of one forward that was made from a clip.

    Args:
        windowed: A window over the plane averages the clip, whatever its frames.
    """

    def __init__(self, windowed: bool) -> None:
        self.windowed = windowed
        # with the tensor: an id is valid while it lives
        self.known: dict[int, tuple[Tensor, _Layout]] = {}

    def mean_over_time(self, function: object, args: tuple[Any, ...], kwargs: Any) -> Mean | None:
        """Return what a call averages if it averages over time, from its arguments."""
        if function not in MEANS or (function in WINDOWS and not self.windowed) or not args:
            return None
        if (layout := self._of(args[0])) is None:
            return None
        x, places, keeps = args[0], *_averaged(function, args[0], args[1:], kwargs)
        if not any("T" in layout.axes[place] for place in places):
            return None
        letters = {letter for place in places for letter in layout.axes[place]}
        over = [2 + CLIP.index(letter) for letter in letters - {"T"}]
        whole = x.reshape(*x.shape[:2], *layout.sizes)
        averaged = whole.mean(over, keepdim=True) if over else whole
        sizes = [1 if n in places else size for n, size in enumerate(x.shape[2:])]
        left = [size for n, size in enumerate(sizes) if keeps or n not in places]
        return Mean(averaged, tuple(left))

    def note(self, function: object, args: tuple[Any, ...], kwargs: Any, answer: object) -> None:
        """Remember the layout of what a call made."""
        if not args or not isinstance(answer, Tensor) or (layout := self._of(args[0])) is None:
            return
        if function in MEANS:
            places, keeps = _averaged(function, args[0], args[1:], kwargs)
            letters = {letter for place in places for letter in layout.axes[place]}
            sizes = [
                1 if letter in letters else size
                for letter, size in zip(CLIP, layout.sizes, strict=True)
            ]
            axes = [axis for n, axis in enumerate(layout.axes) if keeps or n not in places]
            found = _Layout(tuple(axes), (sizes[0], sizes[1], sizes[2]))
        elif function in RESHAPES and answer.shape[:2] == args[0].shape[:2]:
            grouped = _grouped(layout.axes, args[0].shape[2:], answer.shape[2:])
            if grouped is None:
                return
            found = _Layout(grouped, layout.sizes)
        elif function in SQUEEZES and (place := _squeezed(args, kwargs)) is not None:
            if "T" in layout.axes[place] or answer.ndim == args[0].ndim:
                return
            found = _Layout((*layout.axes[:place], *layout.axes[place + 1 :]), layout.sizes)
        else:
            return
        self.known[id(answer)] = answer, found

    def _of(self, x: object) -> _Layout | None:
        if not isinstance(x, Tensor):
            return None
        if id(x) in self.known:
            return self.known[id(x)][1]
        if x.ndim != 5:
            return None
        frames, height, width = x.shape[2:]
        return _Layout(CLIP, (frames, height, width))


def _averaged(
    function: object, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[int], bool]:
    """Return which axes after the channels a call averages whole, and whether they stay as 1."""
    num = x.ndim - 2
    if function in (torch.mean, Tensor.mean):
        given = kwargs.get("dim", args[0] if args else None)
        dims = [given] if isinstance(given, int) else list(given or ())
        places = [dim % x.ndim - 2 for dim in dims]
        keeps = bool(kwargs.get("keepdim", args[1] if len(args) > 1 else False))
        return (places if min(places, default=-1) >= 0 else []), keeps
    if function in WINDOWS:
        kernel = kwargs.get("kernel_size", args[0] if args else None)
        pad = kwargs.get("padding", args[2] if len(args) > 2 else 0)
        sizes = list(triple(tuple(kernel) if isinstance(kernel, Sequence) else kernel))[-num:]
        # a step has fewer frames than the window, a long clip more
        covers = sizes[1:] == list(x.shape[3:]) and _zero(pad)
        return (list(range(num)) if covers else []), True
    size = kwargs.get("output_size", args[0] if args else None)
    wanted = [size] * num if isinstance(size, int) else list(size or ())
    if len(wanted) != num or any(n not in (1, None) for n in wanted):
        return [], True
    return [place for place, n in enumerate(wanted) if n == 1], True


def _squeezed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Return the axis after the channels that a call takes away; None for any number of axes."""
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    place = dim % args[0].ndim - 2 if isinstance(dim, int) else -1
    return place if place >= 0 else None


def _zero(pad: object) -> bool:
    return not any(pad) if isinstance(pad, Sequence) else not pad


def _grouped(
    axes: tuple[str, ...], sizes: Sequence[int], made: Sequence[int]
) -> tuple[str, ...] | None:
    """Return the axes of a reshaped tensor, if each of them merges consecutive ones."""
    rest, found = list(zip(axes, sizes, strict=True)), []
    for place, size in enumerate(made):
        name, product = "", 1
        last = place == len(made) - 1
        while (
            rest and (last or product * rest[0][1] <= size) and (last or product < size or not name)
        ):
            axis, num = rest.pop(0)
            name, product = name + axis, product * num
        if product != size:
            return None
        found.append(name)
    return tuple(found) if not rest and math.prod(sizes) == math.prod(made) else None
