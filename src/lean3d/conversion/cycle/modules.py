"""Run a 2D network on a volume: as a batch of slices, each block on the slices of its plane.

The network's own forward runs on the slices of the first plane, (B*N, C, R, S). A block (`Unit`)
moves them to its plane, runs its own forward on these, and moves them back. A module that changes
the size of the plane (`Resampler`) has depth follow. `Entry` is the network itself, where volumes
come in and go out.

Axes: B batch, C channels; N slices, R rows, S columns of the first plane.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from lean3d.conversion.cycle.follow import Functions, grown
from lean3d.conversion.cycle.parts import TOKENS, Block, Network, Resampling
from lean3d.conversion.cycle.planes import averaged, letters
from lean3d.conversion.cycle.run import Cycle, current, inside
from lean3d.conversion.surgery.subclass import Mixed
from lean3d.conversion.trace.tree import mapped
from lean3d.errors import ShapeError
from lean3d.tracer import Args, Kwargs

__all__ = ["ENTRIES", "Resampler", "Unit", "entries"]

# of blocks that ran with gradients, by the shape of what they got: checkpointing runs them again
# outside of the network's forward
_MEMORY: "WeakKeyDictionary[nn.Module, dict[Any, Any]]" = WeakKeyDictionary()
MOST = 16  # shapes of each block


class Asking:
    """A run of the network on an image of the size of a plane, for what its blocks are given."""

    def __init__(self) -> None:
        self.given: dict[str, list[Any]] = {}


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
        cycle = _running(self, _first(args, kwargs))  # type: ignore[arg-type]
        if cycle is None:
            return own(*args, **kwargs)
        block = _known(self)
        if isinstance(cycle, Asking):
            leaves = tree_flatten((args, kwargs))[0]
            cycle.given[block.path] = leaves
            return own(*args, **kwargs) if len(block.returned) > 1 else _first(args, kwargs)
        return cycle.run_block(block, own, args, kwargs)


class Resampler(Mixed):
    """A module that changes the size of the plane; on a volume, depth follows."""

    _cycle: Resampling

    def forward(self, *args: object, **kwargs: object) -> Any:
        own = super().forward  # type: ignore[misc]
        cycle = _running(self, _first(args, kwargs))  # type: ignore[arg-type]
        if cycle is None or isinstance(cycle, Asking):
            return own(*args, **kwargs)
        how = _known(self)
        if how.kind in TOKENS:
            return self._of_tokens(own, cycle, args, kwargs)
        place = 1 if how.kind == "last" else 2

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
        return mapped(result, lambda y: grown(cycle, y, place, how.shrink == 1 and not how.kept))

    def _of_tokens(self, own: Any, cycle: Cycle, args: Args, kwargs: Kwargs) -> Any:
        """Average the slices of tokens, and note how many rows and columns are left."""
        how, stride = self._cycle, 1 if self._cycle.kept else max(1, self._cycle.shrink)
        axis = 1 if how.kind == "first" else 0

        def shrink(x: object) -> object:
            if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[axis] % cycle.batch:
                return x
            slices = x.shape[axis] // cycle.batch
            moved = averaged(x.transpose(0, axis), slices, stride)
            return moved.transpose(0, axis).contiguous() if stride > 1 else x

        x = _first(args, kwargs)
        grid = cycle.grid_of(x.shape[TOKENS[how.kind]] - how.prefix)
        args, kwargs = mapped((args, kwargs), shrink)
        with inside(None):
            result = own(*args, **kwargs)
        y = _first((result,), {})
        if grid is not None and y is not None and y.ndim == 3:
            count = y.shape[TOKENS[how.kind]] - how.prefix
            ways = (
                (rows, columns)
                for rows in _shares(grid[0], how.before[0], how.after[0])
                for columns in _shares(grid[1], how.before[1], how.after[1])
            )
            left = next((way for way in ways if way[0] * way[1] == count), None)
            if left is not None:
                cycle.note(*left, y.shape[axis] // cycle.batch)
        return result


def _shares(size: int, before: int, after: int) -> tuple[int, int]:
    """Return how many are left of `size` where `after` were of `before`, rounded up or down."""
    stride = max(1, round(before / after))
    return -(-size // stride), max(1, size // stride)


def _first(args: object, kwargs: object) -> Any:
    return next((x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)), None)


class Entry(Mixed):
    """A network of which the blocks run on planes in turn; images it takes as before."""

    _cycle: Network

    def forward(self, *args: object, **kwargs: object) -> Any:
        return _enter(self, super().forward, args, kwargs, outputs=True)  # type: ignore[misc,arg-type]


def _known(module: Any) -> Any:
    """Return what a module is in its network; torch makes slices of a Sequential without it."""
    if "_cycle" not in vars(module):
        raise ShapeError(
            f"this slice of a {type(module).__name__} of a network on planes does not know its "
            "planes: take the slice of the 2D network, and convert that"
        )
    return module._cycle


def _enter(
    module: nn.Module,
    own: Callable[..., Any],
    args: Args,
    kwargs: Kwargs,
    outputs: bool = False,
) -> Any:
    volume = next(
        (x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor) and x.ndim == 5), None
    )
    if current() is not None or volume is None:
        return own(*args, **kwargs)
    network: Network = _known(module)
    returned = network.returned if outputs else ()
    order = letters(network.order[0])
    of = dict(zip("DHW", volume.shape[2:], strict=True))
    cycle = Cycle(network, volume.shape[0], (of[order[0]], of[order[1]], of[order[2]]))
    if network.asks:
        _ask_all(cycle, own, args, kwargs)
    slices = mapped((args, kwargs), cycle.enter)
    mode = Functions(cycle) if network.functions else nullcontext()
    with inside(cycle), mode:
        result = own(*slices[0], **slices[1])
    leaves, nest = tree_flatten(result)
    if len(leaves) != len(returned):
        return mapped(result, cycle.leave)
    known = [leaf if leaf.kind != "unknown" else None for leaf in returned]
    left = [cycle.leave(x, leaf) for x, leaf in zip(leaves, known, strict=True)]
    return tree_unflatten(left, nest)


def _ask_all(cycle: Cycle, own: Callable[..., Any], args: Args, kwargs: Kwargs) -> None:
    """Keep what blocks are given for one image of the size of each plane."""
    network = cycle.network
    order = letters(network.order[0])
    slices = -(-cycle.size[0] // network.depth_stride)
    down, along = network.pitch
    of = dict(
        zip(order, zip((slices, *cycle.size[1:]), (1, down, along), strict=True), strict=True)
    )
    for plane in dict.fromkeys(network.order[1:]):
        rows, columns = _pixels(*of[plane[0]], down), _pixels(*of[plane[1]], along)

        def image(x: object, rows: int = rows, columns: int = columns) -> object:
            if not isinstance(x, Tensor) or x.ndim != 5:
                return x
            return x.new_zeros(1, x.shape[1], rows, columns)

        asking = Asking()
        args_2d, kwargs_2d = mapped((args, kwargs), image)
        with inside(asking):
            own(*args_2d, **kwargs_2d)
        cycle.asked[plane] = asking.given


def _pixels(size: int, pitch: int, wanted: int) -> int:
    """Return the size of an image with as many patches of another size."""
    return size if pitch == wanted else size // pitch * wanted


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
        return _enter(self, own, args, kwargs)

    method.__name__ = name
    title = "Entry" + name.title().replace("_", "")
    kind = type(title, (Mixed,), {name: method, "__module__": __name__})
    globals()[title] = kind
    return kind


_BY_NAME = {name: _entry(name) for name in ENTRIES}


def entries(module: nn.Module) -> tuple[type, ...]:
    """Return the classes to put before that of a network."""
    return (Entry, *(kind for name, kind in _BY_NAME.items() if hasattr(type(module), name)))
