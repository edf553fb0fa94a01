"""Which resampling modules preserve depth, for volumes with thick slices.

Downsamplings are counted by resolution, not by module: the strided branches of one block start
from the same image size and are one downsampling. Upsamplings that end above the last kept
resolution undo kept downsamplings, so they preserve depth too.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.conversion.to3d.base import Site, To3D
from lean3d.conversion.to3d.geometry import every_axis, pair
from lean3d.conversion.to3d.rules.registry import find_rule
from lean3d.conversion.trace.inputs_2d import is_image
from lean3d.conversion.trace.ops_table import window
from lean3d.errors import ConversionError
from lean3d.torch_functions import Trait, having
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Kept", "changes_resolution", "kept_calls", "levels_of", "resamples"]

Function: TypeAlias = Callable[..., object]
Where = Callable[[str, nn.Module], bool]
Kept = dict[str, tuple[bool, ...]]  # by path: which of a module's own calls preserve depth

STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)
SAME_LEVEL = 0.75  # sizes that differ by less are one resolution
# functions that may resample; a forward's calls of them are counted
WINDOWED, RESAMPLING = having(Trait.WINDOW), having(Trait.RESAMPLES)


@dataclass(frozen=True)
class _Call:
    """One call of a module, or of a function by a module's own forward.

    Args:
        ends: Input and output heights.
        step: Negative if it shrinks the image, positive if it enlarges it.
        sized: Its output size is given; the depth of that size is known if such a map was seen.
    """

    path: str
    ends: tuple[int, int]
    step: int
    of_function: bool = False
    sized: bool = False


def kept_calls(model: nn.Module, how: To3D, run: Callable[[], object], selects: Where) -> Kept:
    """Return the calls that preserve depth.

    Args:
        how: The conversion; its keep_depth says how many downsamplings, None for all.
        run: Calls the 2D model once to record its resolutions.
        selects: Whether a module is converted.
    """
    watch = _Resamplings(model, how, selects)
    watch.see(run)
    calls = watch.recorded
    down = [call for call in calls if call.step < 0]
    up = [call for call in calls if call.step > 0]
    smallest, floor = 0.0, 0.0
    if how.keep_depth is not None:
        levels = levels_of({call.ends[0] for call in down}, how.keep_depth)
        smallest = min(levels[how.keep_depth - 1])
        floor = SAME_LEVEL * min(call.ends[1] for call in down if call.ends[0] >= smallest)
        _check_jumps(up, floor)
    kept = {id(call) for call in down if call.ends[0] >= smallest}
    kept |= {id(call) for call in up if call.ends[0] >= floor}
    # padding for a window has the setting of the window
    kept |= {id(pad) for pad, window in watch.padded if id(window) in kept}
    result: Kept = {}
    for call in calls:
        result[call.path] = (*result.get(call.path, ()), id(call) in kept)
    _check_shared(calls, result)
    return {path: flags for path, flags in result.items() if any(flags)}


def _check_jumps(up: list[_Call], floor: float) -> None:
    for call in up:
        start, end = call.ends
        if start < floor < SAME_LEVEL * SAME_LEVEL * end and not call.sized:
            raise ConversionError(
                f"{call.path!r} enlarges {start} to {end} in one step, past the resolution "
                f"{round(floor / SAME_LEVEL)} where depth starts to follow height; choose another "
                "keep_depth"
            )


def _check_shared(calls: list[_Call], kept: Kept) -> None:
    """A module without calls of its own has one setting for all its calls."""
    for path in {call.path for call in calls if not call.of_function}:
        if len(set(kept[path])) > 1:
            raise ConversionError(
                f"{path!r} is used at resolutions on both sides of keep_depth; it cannot both "
                "keep and change depth, so give it two copies or choose another keep_depth"
            )


class _Resamplings(Watch):
    """Return all calls of modules that a rule replaces, and of functions in other forwards."""

    def __init__(self, model: nn.Module, how: To3D, selects: Where):
        super().__init__(model)
        self.recorded: list[_Call] = []
        self.padded: list[tuple[_Call, _Call]] = []
        self.pads: list[tuple[Tensor, _Call]] = []
        self.whole = {
            path
            for path, module in model.named_modules()
            if _shrinks(module)
            or _enlarges(module)
            or (selects(path, module) and find_rule(module, Site(path, how)))
        }

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        x: object = args[0] if args else None
        if path not in self.whole or not (is_image(x) and is_image(output)):
            return
        module = self.modules[path]
        ends = (x.shape[-2], output.shape[-2])
        step = _enlarges(module) - _shrinks(module)
        if not step and not type(module).__name__.startswith("Adaptive"):
            blocks = type(module).__name__ == "SpaceToDepth"
            step = -1 if blocks else 0
        if step:
            call = _Call(path, ends, step)
            self.recorded.append(call)
            self.padded += [(pad, call) for y, pad in self.pads if y is x]

    def called(
        self,
        path: str,
        function: Function,
        args: Args,
        kwargs: Kwargs,
        result: Tensor,
        before: object,
    ) -> None:
        if path not in self.whole and resamples(function, args, kwargs):
            x = args[0] if args else kwargs["input"]
            ends = (x.shape[-2], result.shape[-2])
            step = _step(function, args, kwargs, ends)
            sized = kwargs.get("size", args[1] if len(args) > 1 else None) is not None
            call = _Call(path, ends, step, True, sized)
            self.recorded.append(call)
            self.padded += [(pad, call) for y, pad in self.pads if y is x]
            if function is F.pad:
                self.pads.append((result, call))


def resamples(function: Function, args: Args, kwargs: Kwargs) -> bool:
    """Whether a call is one of those that are counted."""
    x = args[0] if args else kwargs.get("input")
    return function in RESAMPLING and isinstance(x, Tensor) and x.ndim == 4


def _step(function: Function, args: Args, kwargs: Kwargs, ends: tuple[int, int]) -> int:
    if function in WINDOWED:
        return -int(window(function, args, kwargs)[1][0] > 1)
    if function is Tensor.__getitem__:
        index = args[1]
        given = index if isinstance(index, tuple) else (index,)
        plain = all(isinstance(i, slice) or i is Ellipsis for i in given)
        return -int(plain and (every_axis(index)[2].step or 1) > 1)
    return 0 if function is F.pad else int(ends[1] > ends[0]) - int(ends[1] < ends[0])


def changes_resolution(module: nn.Module) -> bool:
    """Whether a 2D module is one that resamples."""
    return _shrinks(module) or _enlarges(module)


def _shrinks(module: nn.Module) -> bool:
    if isinstance(module, STRIDED):
        stride = module.kernel_size if module.stride is None else module.stride
        return pair(stride)[0] > 1
    return isinstance(module, nn.PixelUnshuffle)


def _enlarges(module: nn.Module) -> bool:
    if isinstance(module, nn.ConvTranspose2d):
        return module.stride[0] > 1
    return isinstance(module, (nn.Upsample, nn.PixelShuffle))


def levels_of(sizes: Iterable[int], keep_depth: int) -> list[list[int]]:
    """Return heights by resolution, from the largest on: nearly equal ones are one.

    Raises:
        ConversionError: there are fewer than `keep_depth`.
    """
    levels: list[list[int]] = []
    for size in sorted(set(sizes), reverse=True):
        if levels and size > SAME_LEVEL * levels[-1][0]:
            levels[-1].append(size)
        else:
            levels.append([size])
    if keep_depth > len(levels):
        raise ConversionError(
            f"keep_depth={keep_depth}, but the model downsamples {len(levels)} times; give a "
            "number up to that, or None for all"
        )
    return levels
