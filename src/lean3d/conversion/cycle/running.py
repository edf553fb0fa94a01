"""Run a 2D network on a volume: as a batch of slices, each block on the slices of its plane.

The network's own forward runs on the slices of the first plane, (B*N, C, R, S). A block (`Unit`)
moves them to its plane, runs its own forward on these, and moves them back. A module that changes
the size of the plane (`Resampler`) has depth follow. `Entry` is the network itself, where volumes
come in and go out.

Axes: B batch, C channels, D depth, H height, W width; N slices, R rows, S columns of the first
plane, G tokens without a position.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from lean3d.conversion.cycle.planes import (
    Sizes,
    averaged,
    letters,
    resized,
    turn_of,
    turned,
)
from lean3d.conversion.surgery.subclass import Mixed
from lean3d.conversion.trace.tree import mapped
from lean3d.errors import LeanError, ShapeError
from lean3d.torch_functions import Trait, having
from lean3d.tracer import Args, Function, Kwargs

__all__ = ["ENTRIES", "Block", "Leaf", "Network", "Resampler", "Resampling", "Unit", "entries"]

SETTINGS = "_cycle"
_LOCAL = threading.local()
# of blocks that ran with gradients, by the shape of what they got: checkpointing runs them again
# outside of the network's forward
_MEMORY: "WeakKeyDictionary[nn.Module, dict[Any, Any]]" = WeakKeyDictionary()
MOST = 16  # shapes of each block
NEAR = 1.3  # sizes that differ by less are one resolution
INTERPOLATING = {F.interpolate, F.upsample}
POOLING = having(Trait.WINDOW) - having(Trait.MIXES_CHANNELS)
JOINING = having(Trait.JOINS) & having(Trait.POINTWISE)
SHAPING = {Tensor.reshape, Tensor.view, torch.reshape, Tensor.expand}


@dataclass(frozen=True)
class Leaf:
    """What one argument of a block is.

    Args:
        kind: How it holds slices, or "rows", "columns" or "size" of a slice, "asked": a table for
            the size of the slices, or "other".
        prefix: Tokens without a position.
    """

    kind: str
    prefix: int = 0

    @property
    def holds_slices(self) -> bool:
        return self.kind in ("map", "last", "tokens", "whole")


@dataclass(frozen=True)
class Block:
    """How one block runs.

    Args:
        path: Its name in the network.
        plane: On which its forward runs.
        given: What its arguments are, in the order of their leaves.
        returned: The same of its outputs.
        grid: Rows and columns of its map in the survey.
    """

    path: str
    plane: str
    given: tuple[Leaf, ...]
    returned: tuple[Leaf, ...]
    grid: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Resampling:
    """How depth follows a module that changes the size of the plane.

    Args:
        shrink: Rows that become one; 1 if it enlarges the plane.
        kept: It leaves depth alone.
        last: Its maps are (N, R, S, C).
    """

    path: str
    shrink: int
    kept: bool
    last: bool = False


@dataclass(frozen=True)
class Network:
    """How the network runs.

    Args:
        order: The planes; what is outside the blocks runs on the first.
        depth_stride: Slices averaged into one at the entry.
        kept: Rows of the input a row of the smallest map that keeps depth.
        asks: Blocks get tables for the size of the slices; their pitch is the rows of the input a
            row of these.
        functions: Forwards that resample by functions, or hold on to the size of a batch.
    """

    order: tuple[str, ...]
    tokens: str
    depth_stride: int
    kept: int
    asks: bool
    pitch: int
    prefix: int
    functions: bool


class Cycle:
    """One run of a network.

    Args:
        batch: B.
        size: (N, R, S) of the input, before slices are averaged.
    """

    def __init__(self, network: Network, batch: int, size: Sizes):
        self.network, self.batch, self.size = network, batch, size
        self.maps: list[Sizes] = [size]  # of all maps so far, latest last
        self.asked: dict[str, dict[str, list[Any]]] = {}
        self.batches: list[int] = []  # before depth shrank

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

    def leave(self, x: object) -> Any:
        if not isinstance(x, Tensor) or x.ndim == 0 or x.shape[0] % self.batch:
            return x
        slices = x.shape[0] // self.batch
        volume = x.unflatten(0, (self.batch, slices))
        if x.ndim == 4 and (self._is_map(x.shape[2:]) or not self._is_map(x.shape[1:3])):
            return self._leave_map(x, slices)
        if x.ndim == 4:
            return volume.permute(0, *(1 + place for place in self._back()), 4)
        prefix, grid = self.network.prefix, None
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
        for x, leaf in zip(leaves, block.given, strict=True):
            if leaf.kind == "map":
                rows, columns = x.shape[2:]
            elif leaf.kind == "last":
                rows, columns = x.shape[1:3]
            elif leaf.kind == "tokens":
                grid = self.grid_of(x.shape[1] - leaf.prefix)
                if grid is None:
                    raise ShapeError(
                        f"{block.path!r} gets {x.shape[1]} tokens, which are no slice of the "
                        "volume; patches must not be dropped"
                    )
                rows, columns = grid
            else:
                continue
            slices = x.shape[0] // self.batch
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


class Asking:
    """A run of the network on an image of the size of a plane, for what its blocks are given."""

    def __init__(self) -> None:
        self.given: dict[str, list[Any]] = {}


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


def _running(module: nn.Module, x: object) -> Any:
    """Return the run that a module is part of: that of its forward, if checkpointing repeats it."""
    cycle = current()
    if torch.compiler.is_compiling() or not isinstance(x, Tensor):
        return cycle
    if cycle is None and torch._C._current_graph_task_id() != -1:
        cycle = _MEMORY.get(module, {}).get(tuple(x.shape), Ellipsis)
        if cycle is Ellipsis:
            raise ShapeError(
                "checkpointing repeats a block, and it is not known for which volumes: two batches "
                "have as many slices in all, or torch.no_grad() was on; keep to one batch size"
            )
    elif not isinstance(cycle, Asking) and (torch.is_grad_enabled() or module.training):
        _remember(module, tuple(x.shape), cycle)
    return cycle


def _remember(module: nn.Module, shape: tuple[int, ...], cycle: object) -> None:
    known = _MEMORY.setdefault(module, {})
    before = known.pop(shape, cycle)
    same = getattr(before, "batch", None) == getattr(cycle, "batch", None)
    known[shape] = cycle if same and before is not Ellipsis else Ellipsis
    while len(known) > MOST:  # sizes may differ from call to call
        known.pop(next(iter(known)))


class Unit(Mixed):
    """A block of a network: on a volume it runs on the slices of its plane."""

    _cycle: Block

    def forward(self, *args: object, **kwargs: object) -> Any:
        own = super().forward  # type: ignore[misc]
        block = self._cycle
        cycle = _running(self, _first(args, kwargs))  # type: ignore[arg-type]
        if cycle is None:
            return own(*args, **kwargs)
        if isinstance(cycle, Asking):
            leaves = tree_flatten((args, kwargs))[0]
            cycle.given[block.path] = leaves
            return own(*args, **kwargs) if len(block.returned) > 1 else _first(args, kwargs)
        return cycle.run_block(block, own, args, kwargs)


class Resampler(Mixed):
    """A module that changes the size of the plane; on a volume, depth follows."""

    _cycle: Resampling

    def forward(self, *args: object, **kwargs: object) -> Any:
        own, how = super().forward, self._cycle  # type: ignore[misc]
        cycle = _running(self, _first(args, kwargs))  # type: ignore[arg-type]
        if cycle is None or isinstance(cycle, Asking):
            return own(*args, **kwargs)
        place = 1 if how.last else 2

        def shrink(x: object) -> object:
            if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[0] % cycle.batch:
                return x
            slices = x.shape[0] // cycle.batch
            cycle.note(x.shape[place], x.shape[place + 1], slices)
            if how.kept or how.shrink == 1:
                return x
            cycle.batches.append(x.shape[0])
            return averaged(x, slices, how.shrink)

        args, kwargs = mapped((args, kwargs), shrink)
        with inside(None):
            result = own(*args, **kwargs)
        return mapped(result, lambda y: _grown(cycle, y, place, how.shrink == 1 and not how.kept))


def _grown(cycle: Cycle, y: object, place: int, grows: bool, mode: str = "nearest") -> Any:
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


def _first(args: object, kwargs: object) -> Any:
    return next((x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)), None)


class Functions(TorchFunctionMode):
    """Depth follows functions that change the size of the plane, called outside of blocks.

    A batch that a forward has read before depth shrank is replaced by the present one.
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
            args, kwargs = self._present(args, kwargs)
        elif function in JOINING:
            args = self._of_one_depth(args)
        elif function in INTERPOLATING or function in POOLING:
            return self._resample(function, args, kwargs)
        return function(*args, **kwargs)

    def _present(self, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        x, *rest = args
        if not isinstance(x, Tensor) or not rest or x.ndim == 0:
            return args, kwargs
        sizes = rest[0] if isinstance(rest[0], (tuple, list)) else rest
        if not sizes or sizes[0] == x.shape[0] or x.shape[0] % self.cycle.batch:
            return args, kwargs
        if x.shape[0] == 1 or not any(sizes[0] == batch for batch in self.cycle.batches):
            return args, kwargs
        return (x, (x.shape[0], *sizes[1:])), kwargs

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
            return _grown(cycle, averaged(y, slices, stride), 2, False)
        # a map pooled to one voxel is spread over the plane, whose depth is known
        spread = x.shape[2] == x.shape[3] == 1 and cycle.depth_of(rows, y.shape[3]) is None
        mode = str(kwargs.get("mode", args[3] if len(args) > 3 else "nearest"))
        return _grown(cycle, y, 2, rows > x.shape[2] and not spread, mode)

    def _stride(self, function: Function, before: int, y: Tensor, slices: int) -> int:
        """Return how many slices become one where rows do."""
        cycle = self.cycle
        known = cycle.depth_of(y.shape[2], y.shape[3]) if function in INTERPOLATING else None
        if known is not None:
            return max(1, round(slices / known))
        kept = NEAR * before * cycle.network.kept >= cycle.size[1]
        return 1 if kept else round(before / y.shape[2])


class Entry(Mixed):
    """A network of which the blocks run on planes in turn; images it takes as before."""

    _cycle: Network

    def forward(self, *args: object, **kwargs: object) -> Any:
        return _enter(self._cycle, super().forward, args, kwargs)  # type: ignore[misc]


def _enter(network: Network, own: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    volume = next(
        (x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor) and x.ndim == 5), None
    )
    if current() is not None or volume is None:
        return own(*args, **kwargs)
    order = letters(network.order[0])
    of = dict(zip("DHW", volume.shape[2:], strict=True))
    cycle = Cycle(network, volume.shape[0], (of[order[0]], of[order[1]], of[order[2]]))
    if network.asks:
        _ask_all(cycle, own, args, kwargs)
    folded = mapped((args, kwargs), cycle.enter)
    mode = Functions(cycle) if network.functions else nullcontext()
    with inside(cycle), mode:
        result = own(*folded[0], **folded[1])
    return mapped(result, cycle.leave)


def _ask_all(cycle: Cycle, own: Callable[..., Any], args: Args, kwargs: Kwargs) -> None:
    """Keep what blocks are given for one image of the size of each plane."""
    network = cycle.network
    order = letters(network.order[0])
    slices = -(-cycle.size[0] // network.depth_stride)
    of = dict(zip(order, (slices * network.pitch, *cycle.size[1:]), strict=True))
    for plane in dict.fromkeys(network.order[1:]):
        rows, columns = of[plane[0]], of[plane[1]]

        def image(x: object, rows: int = rows, columns: int = columns) -> object:
            if not isinstance(x, Tensor) or x.ndim != 5:
                return x
            return x.new_zeros(1, x.shape[1], rows, columns)

        asking = Asking()
        args_2d, kwargs_2d = mapped((args, kwargs), image)
        with inside(asking):
            own(*args_2d, **kwargs_2d)
        cycle.asked[plane] = asking.given


# other methods by which features are read; a class of each is added where the network has one
ENTRIES = (
    "forward_features",
    "forward_head",
    "forward_intermediates",
    "get_intermediate_layers",
    "extract_features",
    "encode_image",
    "get_image_features",
)


def _entry(name: str) -> type[Mixed]:
    def method(self: Any, *args: object, **kwargs: object) -> Any:
        own = getattr(type(self).__bases__[-1], name).__get__(self)
        return _enter(self._cycle, own, args, kwargs)

    method.__name__ = name
    title = "Entry" + name.title().replace("_", "")
    kind = type(title, (Mixed,), {name: method, "__module__": __name__})
    globals()[title] = kind
    return kind


_BY_NAME = {name: _entry(name) for name in ENTRIES}


def entries(module: nn.Module) -> tuple[type, ...]:
    """Return the classes to put before that of a network."""
    return (Entry, *(kind for name, kind in _BY_NAME.items() if hasattr(type(module), name)))
