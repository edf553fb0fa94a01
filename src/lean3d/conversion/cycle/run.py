"""One run of a network on a volume, as slices of its first plane, and of a block on another plane.

Axes: B batch, C channels, D depth, H height, W width; N slices, R rows, S columns of the first
plane, G tokens without a position.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from lean3d.conversion.cycle.parts import TOKENS, Block, Leaf, Network
from lean3d.conversion.cycle.planes import (
    SWAPPED,
    Sizes,
    averaged,
    letters,
    resized,
    turn_of,
    turned,
)
from lean3d.errors import LeanError, ShapeError
from lean3d.tracer import Args, Kwargs

__all__ = ["NEAR", "Cycle", "current", "inside", "told"]

_LOCAL = threading.local()
NEAR = 1.3  # sizes that differ by less are one resolution


class Cycle:
    """One run of a network.

    Args:
        batch: B.
        size: (N, R, S) of the input, before slices are averaged.
    """

    def __init__(self, network: Network, batch: int, size: Sizes):
        self.network, self.batch, self.size = network, batch, size
        tiles = (-(-size[0] // network.depth_stride), *size[1:])
        # of all maps so far, latest last
        self.maps: list[Sizes] = [
            *((tiles[0], size[1] // rows, size[2] // columns) for rows, columns in network.tilings),
            size,
        ]
        self.asked: dict[str, dict[str, list[Any]]] = {}
        self.batches: list[int] = []  # before depth changed

    # -- sizes

    def note(self, rows: int, columns: int, slices: int) -> None:
        if (slices, rows, columns) != self.maps[-1]:
            self.maps.append((slices, rows, columns))

    def depth_of(self, rows: int, columns: int) -> int | None:
        """Return the slices of the latest map of that size, or nearly."""
        for slices, r, s in reversed(self.maps):
            if r == rows and s == columns:
                return slices
        for slices, r, s in reversed(self.maps):
            if max(r, rows) < NEAR * min(r, rows) and max(s, columns) < NEAR * min(s, columns):
                return slices
        return None

    def grid_of(self, positions: int) -> tuple[int, int] | None:
        """Return the rows and columns of the latest map with that many positions."""
        for _, rows, columns in reversed(self.maps):
            if rows * columns == positions:
                return rows, columns
        return None

    # -- where volumes come in and go out

    def enter(self, x: object) -> Any:
        if not isinstance(x, Tensor) or x.ndim != 5:
            return x
        axes = tuple(2 + "DHW".index(axis) for axis in letters(self.network.order[0]))
        slices = x.permute(0, axes[0], 1, axes[1], axes[2])
        count = slices.shape[1]
        return averaged(slices.flatten(0, 1), count, self.network.depth_stride)

    def leave(self, x: object, known: Leaf | None = None) -> Any:
        """Return an output of the network as one of a volume.

        Args:
            known: What it is, if that is known; by its size else.
        """
        kind = known.kind if known is not None else ""
        if not isinstance(x, Tensor) or x.ndim == 0 or kind in ("asked", "other"):
            return x
        if kind in SWAPPED:
            tokens = x.transpose(*SWAPPED[kind])
            return self.leave(tokens, replace(known, kind="tokens")).transpose(*SWAPPED[kind])  # type: ignore[type-var]
        if x.shape[0] % self.batch:
            return x
        slices = x.shape[0] // self.batch
        volume = x.unflatten(0, (self.batch, slices))
        if x.ndim == 4 and not kind:
            is_map = self._is_map(x.shape[2:]) or not self._is_map(x.shape[1:3])
            kind = "map" if is_map else "last"
        if x.ndim == 4 and kind != "last":
            return self._leave_map(x, slices)
        if x.ndim == 4:
            return volume.permute(0, *(1 + place for place in self._back()), 4)
        prefix, grid = self.network.prefix, None
        if kind == "tokens" and known is not None:
            prefix = known.prefix
        if x.ndim == 3:
            grid = self.grid_of(x.shape[1] - prefix)
        if x.ndim == 3 and grid is None:  # patches alone
            prefix, grid = 0, self.grid_of(x.shape[1])
        if grid is None:
            return volume.mean(1) if x.is_floating_point() else volume
        placed = volume[:, :, prefix:].unflatten(2, grid)
        placed = placed.permute(0, *(1 + place for place in self._back()), 4).flatten(1, 3)
        return torch.cat([volume[:, :, :prefix].mean(1), placed], 1) if prefix else placed

    def _leave_map(self, x: Tensor, slices: int) -> Tensor:
        if x.shape[2] == x.shape[3] == 1 and not self._is_map((1, 1)):
            return x.unflatten(0, (self.batch, slices)).mean(1)[:, :, None]
        if tuple(x.shape[2:]) == self.size[1:] and slices != self.size[0]:
            x, slices = resized(x, slices, self.size[0], "bilinear"), self.size[0]
        at = (1, 3, 4)
        volume = x.unflatten(0, (self.batch, slices))
        return volume.permute(0, 2, *(at[place] for place in self._back()))

    def _is_map(self, sizes: tuple[int, ...]) -> bool:
        return any((rows, columns) == tuple(sizes) for _, rows, columns in self.maps)

    def _back(self) -> Sizes:
        """Return the places of D, H and W among slices, rows and columns."""
        places = [letters(self.network.order[0]).index(axis) for axis in "DHW"]
        return (places[0], places[1], places[2])

    # -- blocks

    def plane_for(self, plane: str, sizes: Sizes) -> str:
        """Return the plane, or the first other one if it is one voxel thick or wide."""
        order = self.network.order
        of = dict(zip(letters(order[0]), sizes, strict=True))
        if min(of[axis] for axis in plane) > 1:
            return plane
        return next((other for other in order if min(of[axis] for axis in other) > 1), plane)

    def run_block(self, block: Block, own: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        leaves, nest = tree_flatten((args, kwargs))
        if len(leaves) != len(block.given):
            raise ShapeError(
                f"{block.path!r} gets {len(leaves)} arguments where it got {len(block.given)} "
                "when the network was converted; call it as then"
            )
        sizes = self._sizes_in(block, leaves)
        plane = self.plane_for(block.plane, sizes)
        if plane == self.network.order[0]:
            with inside(None):
                return own(*args, **kwargs)
        turn = turn_of(self.network.order[0], plane)
        new = (sizes[turn[0]], sizes[turn[1]], sizes[turn[2]])
        moved = [
            self._moved(x, leaf, turn, sizes, new)
            for x, leaf in zip(leaves, block.given, strict=True)
        ]
        self._ask(block, plane, new, sizes, moved)
        args, kwargs = tree_unflatten(moved, nest)
        with inside(None), _naming(block.path, plane, new):
            result = own(*args, **kwargs)
        outputs, nest = tree_flatten(result)
        back = (turn.index(0), turn.index(1), turn.index(2))
        outputs = [
            self._moved(y, leaf, back, new, sizes)
            for y, leaf in zip(outputs, block.returned, strict=True)
        ]
        return tree_unflatten(outputs, nest)

    def _sizes_in(self, block: Block, leaves: list[Any]) -> Sizes:
        given = told(block.given, leaves)
        for x, leaf in zip(leaves, block.given, strict=True):
            if leaf.kind == "map":
                rows, columns = x.shape[2:]
            elif leaf.kind == "last":
                rows, columns = x.shape[1:3]
            elif leaf.kind in TOKENS:
                count = x.shape[TOKENS[leaf.kind]]
                grid = given if given is not None else self.grid_of(count - leaf.prefix)
                if grid is None or grid[0] * grid[1] != count - leaf.prefix:
                    raise ShapeError(
                        f"{block.path!r} gets {count} tokens, which are no slice of the "
                        "volume; patches must not be dropped"
                    )
                rows, columns = grid
            else:
                continue
            slices = x.shape[leaf.batch_axis] // self.batch
            self.note(rows, columns, slices)
            return slices, rows, columns
        raise AssertionError(f"{block.path} has no map")

    def _moved(self, x: Any, leaf: Leaf, turn: Sizes, sizes: Sizes, new: Sizes) -> Any:
        if leaf.holds_slices:
            kind: Any = leaf.kind
            return turned(x, kind, turn, sizes, leaf.prefix, self.network.tokens)[0]
        numbers = {"rows": new[1], "columns": new[2]}
        if leaf.kind == "size":
            return type(x)(new[1:])
        return numbers.get(leaf.kind, x)

    def _ask(self, block: Block, plane: str, new: Sizes, sizes: Sizes, leaves: list[Any]) -> None:
        """Replace tables for the slices of the first plane by those for this plane."""
        if not any(leaf.kind == "asked" for leaf in block.given) or new[1:] == sizes[1:]:
            return
        given = self.asked[plane][block.path]
        for place, leaf in enumerate(block.given):
            if leaf.kind == "asked":
                leaves[place] = given[place]


def told(kinds: tuple[Leaf, ...], leaves: list[Any]) -> tuple[int, int] | None:
    """Return the rows and columns that a module is given, or returns, as numbers."""
    of = {leaf.kind: x for x, leaf in zip(leaves, kinds, strict=False)}
    if "rows" in of and "columns" in of:
        return of["rows"], of["columns"]
    return (of["size"][0], of["size"][1]) if "size" in of else None


def current() -> Any:
    return getattr(_LOCAL, "cycle", None)


@contextmanager
def inside(cycle: object) -> Iterator[None]:
    outer = current()
    _LOCAL.cycle = cycle
    try:
        yield
    finally:
        _LOCAL.cycle = outer


def _naming(path: str, plane: str, sizes: Sizes) -> Any:
    """Let the error of a block that does not take slices of some size say which block it is."""
    return nullcontext() if torch.compiler.is_compiling() else _named(path, plane, sizes)


@contextmanager
def _named(path: str, plane: str, sizes: Sizes) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        if isinstance(error, (LeanError, torch.OutOfMemoryError)):
            raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ShapeError(
            f"{path!r} does not take slices of {sizes[1]} x {sizes[2]} ({plane}): {why}"
        ) from error
