"""Follows the axes of a clip through a forward: a mean over time is found however it is written.

`x.mean((2, 3, 4))`, `x.mean(-1).mean(-1).mean(-1)`, `x.flatten(2).mean(2)`,
`x.view(B, C, -1).mean(2)`, `F.avg_pool3d(x, x.shape[2:])`, `F.adaptive_avg_pool1d(x.flatten(2), 1)`
and `x.permute(0, 2, 3, 4, 1).flatten(1, 3).mean(1)` are one number; `fc(x.mean((3, 4)).mT).mean(1)`
is the same through a linear layer. Maxima are found too, and sums, for those that divide them.

Axes: B batch, C channels, T time, H height, W width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.shape import triple
from lean3d.torch_functions import Trait, having
from lean3d.tracer import Args, Function, Kwargs

__all__ = ["MAXIMA", "SQUEEZES", "Axes", "Reduced", "window_of"]

MEANS, WINDOWS = having(Trait.AVERAGES), having(Trait.CLIP_WINDOW)
AXES_MEANS = {torch.mean, Tensor.mean}
SUMS, MAXIMA = {torch.sum, Tensor.sum}, {torch.max, Tensor.max}
AMAX = {torch.amax, Tensor.amax, *MAXIMA}
# they take axes away, as a mean does
REDUCED = {*AXES_MEANS, *SUMS, *AMAX, torch.amin, Tensor.amin}
MAX_POOLS = {F.adaptive_max_pool3d, F.adaptive_max_pool1d}
POOLS = MEANS | MAX_POOLS
KINDS: dict[Any, str] = {
    **dict.fromkeys(MEANS, "mean"),
    **dict.fromkeys(SUMS, "sum"),
    **dict.fromkeys(AMAX | MAX_POOLS, "max"),
}
SQUEEZES = {torch.squeeze, Tensor.squeeze}
UNSQUEEZES = {torch.unsqueeze, Tensor.unsqueeze}
REGROUPING = having(Trait.RESHAPES) - SQUEEZES
SOFTMAXES = {torch.softmax, Tensor.softmax, F.softmax, F.log_softmax, torch.log_softmax}
ALIKE = having(Trait.ONE_MAP) | having(Trait.JOINS) | {F.dropout, F.layer_norm} | SOFTMAXES
CLIP = ("B", "C", "T", "H", "W")


@dataclass(frozen=True)
class Reduced:
    """A mean, a sum or a maximum over time.

    Args:
        kind: "mean", "sum" or "max".
        x: (B, F, T), of what it is: already over all other axes, of which F are left.
        shape: Of the result.
        channels: The axis of the result with the channels.
        time: The axis of the result where time was, if it stays as one of 1.
    """

    kind: str
    x: Tensor
    shape: tuple[int, ...]
    channels: int
    time: int | None

    def spread(self, mean_BFT: Tensor) -> Tensor:
        """Return a mean for every frame, with the frames where time was."""
        assert self.time is not None
        sizes = [size for axis, size in enumerate(self.shape) if axis != self.time]
        clips, _, frames = mean_BFT.shape
        return mean_BFT.reshape(clips, *sizes[1:], frames).movedim(-1, self.time)

    def rows(self, mean_BFT: Tensor) -> Tensor:
        """Return the mean of every frame as a clip of its own, (B * T, ...)."""
        return mean_BFT.transpose(1, 2).reshape(-1, *self.shape[1:])

    def last(self, mean_BF: Tensor) -> Tensor:
        """Return the result; it may have more channels."""
        sizes = [-1 if axis == self.channels else size for axis, size in enumerate(self.shape)]
        return mean_BF.reshape(mean_BF.shape[0], *sizes[1:])


@dataclass(frozen=True)
class _Layout:
    """The axes of a tensor, such as ("B", "CT", "HW"), "" for one of 1; and their sizes."""

    axes: tuple[str, ...]
    sizes: dict[str, int]

    def split(self) -> tuple[list[str], list[int]]:
        """Return every axis of the clip on its own, in order."""
        letters = list("".join(self.axes))
        return letters, [self.sizes[letter] for letter in letters]


class Axes:
    """The layout of every tensor of one forward that was made from a clip.

    Args:
        windowed: A window over the plane averages the clip, whatever its frames; by default one
            that has as many frames as the clip.
    """

    def __init__(self, windowed: bool | None = None) -> None:
        self.windowed = windowed
        # with the tensor: an id is valid while it lives
        self.known: dict[int, tuple[Tensor, _Layout]] = {}

    def over_time(self, function: Function, args: Args, kwargs: Kwargs) -> Reduced | None:
        """Return what a call averages, sums or maximises over time, from its arguments."""
        kind = KINDS.get(function)
        if kind is None or not args or not self._covered(function, args, kwargs):
            return None
        if (within := _within_frames(function, args, kwargs)) is not None:
            reduce = torch.mean if kind == "mean" else torch.amax
            return self.over_time(reduce, (within, 2, True), {})
        if (layout := self._of(args[0])) is None or layout.axes[0] != "B":
            return None
        x, (places, keeps) = args[0], _averaged(function, args[0], args[1:], kwargs)
        gone = {letter for place in places for letter in layout.axes[place]}
        if "T" not in gone or gone & {"B", "C"}:
            return None
        letters, sizes = layout.split()
        apart = x.reshape(sizes)
        over = [axis for axis, letter in enumerate(letters) if letter in gone - {"T"}]
        every: dict[str, Any] = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}
        within_frames = every[kind]
        averaged = within_frames(apart, over) if over else apart
        left = [letter for letter in letters if letter not in gone or letter == "T"]
        x_BFT = averaged.movedim(left.index("T"), -1).flatten(1, -2)
        kept = [n for n in range(x.ndim) if keeps or n not in places]
        shape = tuple(1 if n in places else x.shape[n] for n in kept)
        named = [layout.axes[n] for n in kept]
        channels = next((n for n, name in enumerate(named) if "C" in name), -1)
        time = next((n for n, name in enumerate(named) if "T" in name), None)
        return Reduced(kind, x_BFT, shape, channels, time) if channels > 0 else None

    def note(self, function: Function, args: Args, kwargs: Kwargs, answer: object) -> None:
        """Remember the layout of what a call made."""
        if function is torch.stack and isinstance(answer, Tensor):
            self._stacked(args, kwargs, answer)
            return
        if not args or not isinstance(args[0], Tensor):
            return
        if isinstance(answer, tuple | list) and answer and isinstance(answer[0], Tensor):
            self._several(function, args, kwargs, answer)
            return
        if not isinstance(answer, Tensor):
            return
        if function in ALIKE:
            given = [x for x in args if isinstance(x, Tensor) and x.shape == answer.shape]
            found = next((f for x in given if (f := self._told(x)) is not None), None)
            along = function not in SOFTMAXES or found is None
            if not along and (dim := _argument(args, kwargs, 1, "dim")) is not None:
                along = "T" not in found.axes[dim]  # type: ignore[union-attr]
            found = found if along else None
        else:
            layout = self._of(args[0]) if self._covered(function, args, kwargs) else None
            found = None if layout is None else _made(function, layout, args, kwargs, answer)
        if found is not None and len(found.axes) == answer.ndim:
            self.known[id(answer)] = answer, found

    def begin(self, x: Tensor, axes: tuple[str, ...]) -> None:
        """Remember the axes of what a forward is given."""
        if x.ndim == len(axes) and all(len(name) == 1 for name in axes):
            self.known[id(x)] = x, _Layout(axes, dict(zip(axes, x.shape, strict=True)))

    def axes_of(self, x: object) -> tuple[str, ...] | None:
        """Return the axes of a tensor, if they are known and not those of any clip."""
        layout = self._told(x) if isinstance(x, Tensor) else None
        return None if layout is None else layout.axes

    def _several(self, function: Function, args: Args, kwargs: Kwargs, answer: Any) -> None:
        """Remember the layout of frames on their own, and of the first output of an LSTM."""
        if (layout := self._of(args[0])) is None:
            return
        if function in UNBINDS:
            place = _argument(args, kwargs, 1, "dim") or 0
            rest = [name for n, name in enumerate(layout.axes) if n != place % len(layout.axes)]
            for part in answer if layout.axes[place] == "T" else ():
                self.known[id(part)] = part, replace(layout, axes=tuple(rest))
            return
        made = None
        if function in RECURRENT:
            made = _linear(layout, args, kwargs, answer[0])
        elif function in MAXIMA:
            made = _fewer(function, layout, args, kwargs)
        if made is not None:
            self.known[id(answer[0])] = answer[0], made

    def _stacked(self, args: Args, kwargs: Kwargs, answer: Tensor) -> None:
        """Remember the layout of what a forward made of every frame on its own."""
        told = [self._told(x) for x in args[0]]
        first = told[0] if told else None
        if first is None or len(told) != first.sizes["T"] or "T" in "".join(first.axes):
            return
        axes = list(first.axes)
        axes.insert((_argument(args, kwargs, 1, "dim") or 0) % answer.ndim, "T")
        if all(layout is not None and layout.axes == first.axes for layout in told):
            self.known[id(answer)] = answer, replace(first, axes=tuple(axes))

    def _covered(self, function: object, args: Args, kwargs: Kwargs) -> bool:
        """Whether it is no window, or one that may average the whole clip."""
        if function not in WINDOWS or self.windowed:
            return True
        if self.windowed is False or not isinstance(args[0], Tensor):
            return False
        size: Any = kwargs.get("kernel_size", args[1] if len(args) > 1 else 1)
        return (size if isinstance(size, int) else size[0]) == args[0].shape[2]

    def _told(self, x: Tensor) -> _Layout | None:
        """Return a layout that is not that of any clip."""
        return self.known[id(x)][1] if id(x) in self.known else None

    def _of(self, x: object) -> _Layout | None:
        if not isinstance(x, Tensor):
            return None
        if (known := self._told(x)) is not None:
            return known
        return _Layout(CLIP, dict(zip(CLIP, x.shape, strict=True))) if x.ndim == 5 else None


Layouts = Callable[[_Layout, Args, Kwargs, Tensor], _Layout | None]


def _made(
    function: Function, layout: _Layout, args: Args, kwargs: Kwargs, answer: Tensor
) -> _Layout | None:
    """Return the layout of what a call makes of a tensor."""
    if function in REDUCED or function in POOLS:
        return _fewer(function, layout, args, kwargs)
    if function in REGROUPING:
        return _grouped(layout, answer.shape)
    rule = RULES.get(function)
    return None if rule is None else rule(layout, args, kwargs, answer)


def _fewer(function: object, layout: _Layout, args: Args, kwargs: Kwargs) -> _Layout | None:
    places, keeps = _averaged(function, args[0], args[1:], kwargs)
    gone = {letter for place in places for letter in layout.axes[place]}
    if gone & {"B", "C"} or not places:
        return None
    axes = list(layout.axes)
    for place in places:
        axes[place] = ""
    axes = [name for place, name in enumerate(axes) if keeps or place not in places]
    return replace(layout, axes=tuple(axes))


def _reordered(layout: _Layout, args: Args, kwargs: Kwargs, answer: Tensor) -> _Layout | None:
    dims: Any = kwargs.get("dims", args[1] if len(args) == 2 else args[1:])
    if isinstance(dims, int):
        dims = (dims,)
    if len(dims) != len(layout.axes):
        return None
    return replace(layout, axes=tuple(layout.axes[dim] for dim in dims))


def _swapped(layout: _Layout, args: Args, kwargs: Kwargs, answer: Tensor) -> _Layout | None:
    axes = list(layout.axes)
    one, two = (*args[1:], *kwargs.values())
    axes[one], axes[two] = axes[two], axes[one]
    return replace(layout, axes=tuple(axes))


def _turned(layout: _Layout, args: Args, kwargs: Kwargs, answer: Tensor) -> _Layout | None:
    return _swapped(layout, (None, -2, -1), {}, answer)


def _moved(layout: _Layout, args: Args, kwargs: Kwargs, answer: Tensor) -> _Layout | None:
    source, destination = (*args[1:], *kwargs.values())
    numbered = torch.empty([*range(len(layout.axes))], device="meta")
    order = torch.movedim(numbered, source, destination).shape
    return replace(layout, axes=tuple(layout.axes[place] for place in order))


def _squeezed(layout: _Layout, args: Args, kwargs: Kwargs, answer: Tensor) -> _Layout | None:
    dims = _argument(args, kwargs, 1, "dim")
    num = len(layout.axes)
    asked = range(num) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {dim % num for dim in asked if args[0].shape[dim] == 1}
    kept = [n for n in range(num) if n not in gone]
    # a step has one frame, and a clip may be alone
    return replace(layout, axes=tuple(layout.axes[n] for n in kept))


def _unsqueezed(layout: _Layout, args: Args, kwargs: Kwargs, answer: Tensor) -> _Layout | None:
    axes = list(layout.axes)
    axes.insert(_argument(args, kwargs, 1, "dim") % answer.ndim, "")
    return replace(layout, axes=tuple(axes))


def _indexed(layout: _Layout, args: Args, kwargs: Kwargs, answer: Tensor) -> _Layout | None:
    key = args[1] if isinstance(args[1], tuple) else (args[1],)
    plain = (isinstance(p, int) or p is None or p is Ellipsis or p == slice(None) for p in key)
    if not all(plain):
        return None
    more = len(layout.axes) - sum(part is not None and part is not Ellipsis for part in key)
    dots = next((n for n, part in enumerate(key) if part is Ellipsis), len(key))
    parts = [*key[:dots], *[slice(None)] * more, *key[dots + 1 :]]
    rest, axes = list(layout.axes), []
    for part in parts:
        if part is None:
            axes.append("")
            continue
        name = rest.pop(0)
        if not isinstance(part, int):
            axes.append(name)
        elif set(name) & {"B", "C"} or len(name) > 1:
            return None
    return replace(layout, axes=tuple(axes))


def _linear(layout: _Layout, args: Args, kwargs: Kwargs, answer: Tensor) -> _Layout | None:
    if layout.axes[-1] != "C":
        return None
    return _Layout(layout.axes, {**layout.sizes, "C": answer.shape[-1]})


SLIDING = {F.avg_pool3d, F.max_pool3d}
UNBINDS = {torch.unbind, Tensor.unbind}
RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}
RULES: dict[Any, Layouts] = {
    **dict.fromkeys((torch.permute, Tensor.permute), _reordered),
    **dict.fromkeys((torch.transpose, Tensor.transpose), _swapped),
    **dict.fromkeys((torch.swapaxes, Tensor.swapaxes), _swapped),
    Tensor.mT.__get__: _turned,  # type: ignore[attr-defined]
    **dict.fromkeys((torch.movedim, Tensor.movedim), _moved),
    **dict.fromkeys(SQUEEZES, _squeezed),
    **dict.fromkeys(UNSQUEEZES, _unsqueezed),
    Tensor.__getitem__: _indexed,
    F.linear: _linear,
}


def _argument(args: Args, kwargs: Kwargs, at: int, name: str) -> Any:
    return kwargs.get(name, args[at] if len(args) > at else None)


def window_of(function: Function, args: Args, kwargs: Kwargs) -> tuple[int, int, int] | None:
    """Return the window of a pool that slides over time, if the call is of one."""
    if function not in SLIDING or not args or getattr(args[0], "ndim", 0) != 5:
        return None
    size = triple(_argument(args, kwargs, 1, "kernel_size"))
    return size if size[0] > 1 else None


def _averaged(function: object, x: Tensor, args: Args, kwargs: Kwargs) -> tuple[list[int], bool]:
    """Return which axes a call averages whole, and whether they stay as 1."""
    if function in REDUCED:
        given = kwargs.get("dim", kwargs.get("axis", args[0] if args else None))
        dims = [given] if isinstance(given, int) else list(given or ())
        keeps = bool(kwargs.get("keepdim", args[1] if len(args) > 1 else False))
        return [dim % x.ndim for dim in dims], keeps
    num = x.ndim - 2
    if function in WINDOWS:
        kernel = kwargs.get("kernel_size", args[0] if args else None)
        pad = kwargs.get("padding", args[2] if len(args) > 2 else 0)
        sizes = list(triple(tuple(kernel) if isinstance(kernel, Sequence) else kernel))[-num:]
        # a step has fewer frames than the window, a long clip more
        covers = sizes[1:] == list(x.shape[3:]) and _zero(pad)
        return (list(range(2, x.ndim)) if covers else []), True
    size = kwargs.get("output_size", args[0] if args else None)
    wanted = [size] * num if isinstance(size, int) else list(size or ())
    if len(wanted) != num or any(n not in (1, None) for n in wanted):
        return [], True
    return [2 + place for place, n in enumerate(wanted) if n == 1], True


def _within_frames(function: Function, args: Args, kwargs: Kwargs) -> Tensor | None:
    """Return each frame pooled, for a pool to one frame of several places."""
    if function not in (F.adaptive_avg_pool3d, F.adaptive_max_pool3d) or args[0].ndim != 5:
        return None
    size = _argument(args, kwargs, 1, "output_size")
    if isinstance(size, int) or size[0] != 1 or all(n in (1, None) for n in size):
        return None
    return function(args[0], (None, *size[1:]))


def _zero(pad: object) -> bool:
    return not any(pad) if isinstance(pad, Sequence) else not pad


def _grouped(layout: _Layout, made: Sequence[int]) -> _Layout | None:
    """Return the layout of a reshaped tensor, if each of its axes merges consecutive ones."""
    letters, sizes = layout.split()
    rest, found = list(zip(letters, sizes, strict=True)), []
    for place, size in enumerate(made):
        name, product, last = "", 1, place == len(made) - 1
        while rest and product * rest[0][1] <= size:
            alone = product == size and (name or rest[0][1] != 1)
            # axes of 1 go to the last, and those before the channels to the one before
            if alone and not last and not _before_channels(rest, made[place + 1 :]):
                break
            if alone and rest[0][1] != 1:
                break
            letter, num = rest.pop(0)
            name, product = name + letter, product * num
        if product != size:
            return None
        found.append(name)
    return (
        None if rest or math.prod(made) != math.prod(sizes) else replace(layout, axes=tuple(found))
    )


def _before_channels(rest: list[tuple[str, int]], made: Sequence[int]) -> bool:
    """Whether an axis of 1 is followed by the channels, which then have an axis of their own."""
    letters = [letter for letter, _ in rest]
    ones = [size for _, size in rest][: letters.index("C")] if "C" in letters else [2]
    return bool(ones) and set(ones) == {1} and bool(made) and made[0] == rest[len(ones)][1]
