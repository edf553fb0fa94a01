"""Depth follows what changes the size of the plane: resampling modules and functions.

Axes: B batch, C channels, D depth, H height, W width; N slices, R rows, S columns of the first
plane, G tokens without a position.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lean3d.conversion.cycle.planes import across, averaged, resized
from lean3d.conversion.cycle.run import NEAR, Cycle, current, inside
from lean3d.torch_functions import RESHAPE_CALLS, Trait, having
from lean3d.tracer import Args, Function, Kwargs

__all__ = ["Functions", "grown"]

INTERPOLATING = {F.interpolate, F.upsample}
POOLING = having(Trait.WINDOW) - having(Trait.MIXES_CHANNELS)
JOINING = having(Trait.JOINS) & having(Trait.POINTWISE)
PUTTING_TOGETHER = {torch.cat, torch.concat, torch.concatenate, torch.stack}
REPEATING = {Tensor.expand, Tensor.repeat}
SHAPING = {*RESHAPE_CALLS, *REPEATING}


def grown(cycle: Cycle, y: object, place: int, grows: bool, mode: str = "nearest") -> Any:
    """Note the size of a map; let depth follow where the plane has grown."""
    if not isinstance(y, Tensor) or y.ndim != 4 or y.shape[0] % cycle.batch:
        return y
    slices, (rows, columns) = y.shape[0] // cycle.batch, y.shape[place : place + 2]
    if grows:
        count = _depth_after(cycle, rows, columns, slices)
        y, slices = resized(y, slices, count, mode), count
    cycle.note(rows, columns, slices)
    return y


def _depth_after(cycle: Cycle, rows: int, columns: int, slices: int) -> int:
    known = cycle.depth_of(rows, columns)
    if known is not None:
        return known
    # between two resolutions that are known: as many times as rows, up to the depth of the finer
    before = max((r for n, r, _ in cycle.maps if r < rows and n == slices), default=rows)
    finer = min((m for m in cycle.maps if m[1] > rows), key=lambda m: m[1], default=cycle.size)
    return max(slices, min(slices * max(1, round(rows / before)), finer[0]))


class Functions(TorchFunctionMode):
    """Depth follows functions that change the size of the plane, called outside of blocks.

    A batch that a forward has read before depth changed is replaced by the present one.
    """

    def __init__(self, cycle: Cycle):
        super().__init__()
        self.cycle = cycle

    def __torch_function__(
        self, function: Function, types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if current() is not self.cycle:
            return function(*args, **kwargs)
        if function in SHAPING and self.cycle.batches:
            args, kwargs = self._present(function, args, kwargs)
        elif function in JOINING:
            args = self._of_one_depth(args)
        elif function in PUTTING_TOGETHER:
            args = self._of_their_depth(args, kwargs)
        elif function in INTERPOLATING or function in POOLING:
            return self._resample(function, args, kwargs)
        return function(*args, **kwargs)

    def _present(self, function: Function, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        x, *rest = args
        if not isinstance(x, Tensor) or not rest or x.ndim == 0:
            return args, kwargs
        sizes = rest[0] if isinstance(rest[0], (tuple, list)) else rest
        if not sizes or not any(sizes[0] == batch for batch in self.cycle.batches):
            return args, kwargs
        if x.shape[0] > 1:
            whole = x.shape[0] % self.cycle.batch == 0
            return ((x, (x.shape[0], *sizes[1:])) if whole else args), kwargs
        if function in REPEATING and x.ndim > 2:
            return (x, (self._slices_at(x) * self.cycle.batch, *sizes[1:])), kwargs
        return args, kwargs

    def _slices_at(self, x: Tensor) -> int:
        """Return the slices of the map that a table for one slice is for; of the latest else."""
        grid = (x.shape[2], x.shape[3]) if x.ndim == 4 else self.cycle.grid_of(x.shape[1])
        known = self.cycle.depth_of(*grid) if grid is not None else None
        return known if known is not None else self.cycle.maps[-1][0]

    def _of_one_depth(self, args: Args) -> Args:
        """Repeat a map that was pooled to one voxel, if it has fewer slices than the other one."""
        pair = [x for x in args if isinstance(x, Tensor) and x.ndim == 4]
        if len(pair) != 2 or pair[0].shape[0] == pair[1].shape[0]:
            return args
        batch = self.cycle.batch
        counts = [x.shape[0] // batch for x in pair if x.shape[0] % batch == 0]
        if len(counts) != 2:
            return args
        count = max(counts)
        return tuple(
            resized(x, x.shape[0] // batch, count, "nearest")
            if isinstance(x, Tensor) and x.ndim == 4 and x.shape[2] == x.shape[3] == 1
            else x
            for x in args
        )

    def _of_their_depth(self, args: Args, kwargs: Kwargs) -> Args:
        """Give tokens without a position as many slices as the patches they are put before.

        Features of slices that are put side by side get the fewest, maps those of the widest.
        """
        parts: Any = args[0] if args else ()
        axis, batch = args[1] if len(args) > 1 else kwargs.get("dim", 0), self.cycle.batch
        kinds = {x.ndim if isinstance(x, Tensor) else 0 for x in parts}
        if kinds not in ({2}, {3}, {4}) or axis not in (1, 1 - max(kinds)):
            return args
        depths = [x.shape[0] // batch for x in parts]
        if len({*depths}) == 1 or any(x.shape[0] % batch for x in parts):
            return args
        widths = [(0 if x.ndim == 2 else x.shape[1], -x.shape[0]) for x in parts]
        count = depths[widths.index(max(widths))]
        if kinds == {4}:
            pairs = zip(parts, depths, strict=True)
            return ([resized(x, depth, count, "bilinear") for x, depth in pairs], *args[1:])
        tokens = self.cycle.network.tokens
        slices = (x.unflatten(0, (batch, -1)) for x in parts)
        return ([across(x, count, tokens).flatten(0, 1) for x in slices], *args[1:])

    def _resample(self, function: Function, args: Args, kwargs: Kwargs) -> Any:
        cycle, x = self.cycle, args[0] if args else kwargs["input"]
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[0] % cycle.batch:
            return function(*args, **kwargs)
        with inside(None):
            y = function(*args, **kwargs)
        slices, rows = x.shape[0] // cycle.batch, y.shape[2]
        cycle.note(x.shape[2], x.shape[3], slices)
        if rows < x.shape[2]:
            stride = self._stride(function, x.shape[2], y, slices)
            if stride > 1:
                cycle.batches.append(x.shape[0])
            return grown(cycle, averaged(y, slices, stride), 2, False)
        # a map pooled to one voxel is spread over the plane, whose depth is known
        spread = x.shape[2] == x.shape[3] == 1 and cycle.depth_of(rows, y.shape[3]) is None
        mode = str(kwargs.get("mode", args[3] if len(args) > 3 else "nearest"))
        deeper = grown(cycle, y, 2, rows > x.shape[2] and not spread, mode)
        if deeper.shape[0] > x.shape[0]:
            cycle.batches.append(x.shape[0])
        return deeper

    def _stride(self, function: Function, before: int, y: Tensor, slices: int) -> int:
        """Return how many slices become one where rows do."""
        cycle = self.cycle
        known = cycle.depth_of(y.shape[2], y.shape[3]) if function in INTERPOLATING else None
        if known is not None:
            return max(1, round(slices / known))
        kept = NEAR * before * cycle.network.kept >= cycle.size[1]
        return 1 if kept else round(before / y.shape[2])
