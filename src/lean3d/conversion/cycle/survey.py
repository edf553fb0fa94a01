"""Run a 2D network once, and record what every module is given and returns.

Axes: B batch, C channels, H height, W width of a map.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.utils._pytree import tree_flatten

from lean3d.conversion.cycle.parts import TOKENS, Leaf
from lean3d.torch_functions import Trait, having
from lean3d.tracer import Args, Function, Kwargs, Watch

__all__ = ["Called", "Survey", "survey"]

MOST_PREFIX = 64  # class, register and distillation tokens
ATTENDING = {F.scaled_dot_product_attention, F.softmax, torch.softmax, Tensor.softmax}
MATMULS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, torch.einsum}
MOST_CUT = 2  # tokens without a position beside patches that are cut without a module
WINDOWS, RESAMPLING = having(Trait.WINDOW), having(Trait.RESAMPLES)
OF_PLANE = RESAMPLING - having(Trait.MIXES_CHANNELS) - {F.pad, Tensor.__getitem__}
# of which the kernels are no functions of torch's
MIXING = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.RNNBase)
CONVOLUTIONS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.ConvTranspose2d)

Pair = tuple[int, int]


@dataclass
class Called:
    """One call of a module.

    Args:
        given: What its arguments are.
        returned: What its outputs are.
        sizes: Rows and columns of the maps given, and of those returned.
    """

    given: tuple[Leaf, ...]
    sizes_in: tuple[Pair, ...]
    shapes: tuple[Any, ...]
    returned: tuple[Leaf, ...] = ()
    sizes_out: tuple[Pair, ...] = ()

    @property
    def keeps_size(self) -> bool:
        """Whether maps of one size come out at that size."""
        return len({*self.sizes_in, *self.sizes_out}) == 1 and bool(self.sizes_out)

    @property
    def changes_size(self) -> bool:
        return bool(self.sizes_in and self.sizes_out) and not {*self.sizes_in} & {*self.sizes_out}

    @property
    def knows(self) -> bool:
        """Whether every tensor that holds slices is understood."""
        leaves = self.given + self.returned
        return bool(self.sizes_in) and all(leaf.kind != "unknown" for leaf in leaves)


@dataclass
class Survey:
    """What a run showed.

    Args:
        calls: By path, in order of their first call.
        mixes: Modules in which a value comes to depend on those at other positions.
        attends: Modules whose own forward does that by attention.
        resamples: Modules whose own forward changes the size of the plane by a function.
        reads: Modules that read the image itself and change its size.
        size: Of the image.
        tilings: Rows and columns of patches that are cut without a module.
    """

    size: Pair
    tilings: set[Pair] = field(default_factory=set)
    calls: dict[str, list[Called]] = field(default_factory=dict)
    mixes: set[str] = field(default_factory=set)
    attends: set[str] = field(default_factory=set)
    resamples: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)


def survey(model: nn.Module, image: Tensor, run: Callable[[], object]) -> Survey:
    """Return what every module was given and returned in a run on `image`."""
    watch = _Calls(model, image)
    watch.see(run)
    return watch.found


class _Calls(Watch):
    def __init__(self, model: nn.Module, image: Tensor):
        super().__init__(model)
        self.batch, self.image = image.shape[0], image
        size = (image.shape[2], image.shape[3])
        self.found = Survey(size)
        self.grids: list[Pair] = [size]
        self.open: list[Called] = []

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        if isinstance(self.modules[path], MIXING):
            self.found.attends.add(path)
            self.found.mixes.update((*self.stack, path))
        leaves = tree_flatten((args, kwargs))[0]
        read = [self._read(x) for x in leaves]
        given = tuple(leaf for leaf, _ in read)
        sizes = tuple(pair for _, pair in read if pair is not None)
        given = self._numbers(leaves, given, sizes[0] if sizes else None)
        shapes = tuple(x.shape if isinstance(x, Tensor) else x for x in leaves)
        call = Called(given, sizes, shapes)
        self.found.calls.setdefault(path, []).append(call)
        self.open.append(call)

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        call = self.open.pop()
        leaves = tree_flatten(output)[0]
        if isinstance(self.modules[path], CONVOLUTIONS):
            self._note(leaves)
        read = [self._read(y) for y in leaves]
        call.sizes_out = tuple(pair for _, pair in read if pair is not None)
        returned = tuple(leaf for leaf, _ in read)
        call.returned = self._numbers(
            leaves, returned, call.sizes_out[0] if call.sizes_out else None
        )
        # an image as such, or with its values shifted and scaled
        whole = call.sizes_in == (self.found.size,) and call.changes_size
        if whole and call.shapes[0][1:] == self.image.shape[1:]:
            self.found.reads.add(path)

    def called(
        self, path: str, function: Function, args: Args, kwargs: Kwargs, result: Any, before: Any
    ) -> None:
        if function is F.conv2d:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            mixes = max(weight.shape[2:]) > 1
        else:
            attends = function in ATTENDING or function in MATMULS
            if attends:
                self.found.attends.add(path)
            mixes = attends or (function in WINDOWS) or function in (F.unfold, torch.roll)
            mixes = mixes or (function is F.linear and self._is_of_tokens(args[0]))
        if mixes:
            self.found.mixes.update(self.stack)
        x = next(iter(args), None)
        if function is F.unfold:
            self._note_patches(*args, **kwargs)
        if function not in OF_PLANE or not isinstance(x, Tensor) or not isinstance(result, Tensor):
            return
        if x.ndim == result.ndim == 4 and x.shape[2:] != result.shape[2:]:
            self.found.resamples.add(path)
            self._note([result])

    def _note_patches(
        self,
        input: Tensor,
        kernel_size: Any,
        dilation: Any = 1,
        padding: Any = 0,
        stride: Any = 1,
    ) -> None:
        """Note the grid of patches beside each other, those of F.unfold."""
        kernel, gap, pad, step = (
            (x, x) if isinstance(x, int) else tuple(x)
            for x in (kernel_size, dilation, padding, stride)
        )
        if tuple(input.shape[2:]) == self.found.size and (gap, pad, step) == (
            (1, 1),
            (0, 0),
            kernel,
        ):
            self.grids.append((input.shape[2] // step[0], input.shape[3] // step[1]))
            self.found.tilings.add((step[0], step[1]))

    def _note(self, values: list[Any]) -> None:
        for y in values:
            if isinstance(y, Tensor) and y.ndim == 4 and y.shape[0] == self.batch:
                self.grids.append((y.shape[2], y.shape[3]))

    def _is_of_tokens(self, x: object) -> bool:
        """Whether the last axis of a tensor is that of tokens, which a linear layer mixes."""
        if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[0] != self.batch:
            return False
        counts = {rows * columns for rows, columns in self.grids if rows * columns > 1}
        return x.shape[2] in counts and x.shape[1] not in counts

    def _read(self, x: object) -> tuple[Leaf, Pair | None]:
        """Return what a tensor is, and the rows and columns of its map."""
        if not isinstance(x, Tensor):
            return Leaf("other"), None
        if x.ndim == 3 and self.batch in x.shape[:2]:
            return self._read_tokens(x.shape)
        if x.ndim < 2 or x.shape[0] != self.batch:
            return Leaf("asked" if x.numel() > 1 else "other"), None
        if x.ndim == 4:
            return self._read_map(x.shape)
        return Leaf("whole" if x.ndim == 2 else "unknown"), None

    def _read_tokens(self, shape: Size) -> tuple[Leaf, Pair | None]:
        kinds = ["tokens", "channels"] if shape[0] == self.batch else ["first"]
        ways = []
        for kind in kinds:
            for rows, columns in reversed(self.grids):
                prefix = shape[TOKENS[kind]] - rows * columns
                if 0 <= prefix <= MOST_PREFIX and rows * columns > 1:
                    ways.append((kind == "channels", Leaf(kind, prefix), (rows, columns)))
        # a coarser map leaves more tokens without a position; the latest of equals is meant
        ways.sort(key=lambda way: (way[0], way[1].prefix))
        exact = [way for way in ways if way[1].prefix == 0]
        ways = [way for way in ways if not way[0]] or exact
        if exact and ways[0][1].prefix:  # channels that are nearly as many as tokens
            ways = [way for way in exact if way[0]] or ways
        if ways:
            return ways[0][1], ways[0][2]
        return self._read_cut(kinds[0], shape)

    def _read_cut(self, kind: str, shape: Size) -> tuple[Leaf, Pair | None]:
        """Recognise patches that a forward cuts by shapes alone: as many as tile the image."""
        height, width = self.found.size
        count = shape[TOKENS[kind]]
        # what convolves first cuts none of the image
        cuts = len(self.grids) == 1 or bool(self.found.tilings)
        for tile in range(2, min(height, width) // 2 + 1) if cuts else ():
            rows, columns = height // tile, width // tile
            exact = height % tile == width % tile == 0
            if exact and 0 <= count - rows * columns <= MOST_CUT:
                self.grids.append((rows, columns))
                self.found.tilings.add((tile, tile))
                return Leaf(kind, count - rows * columns), (rows, columns)
        return Leaf("whole" if kind == "tokens" else "asked"), None

    def _read_map(self, shape: Size) -> tuple[Leaf, Pair | None]:
        first, last = (shape[2], shape[3]), (shape[1], shape[2])
        known = [first in self.grids, last in self.grids]
        fits = [self._fits(first), self._fits(last)]
        if known == [False, True] or (not any(known) and fits == [False, True]):
            return Leaf("last"), last
        if known[0] or fits[0] or first == (1, 1):
            return Leaf("map", sure=not known[1]), first
        return Leaf("unknown"), None

    def _fits(self, pair: Pair) -> bool:
        """Whether a map of that size is the image, as many times smaller along both axes."""
        height, width = self.found.size
        for times in range(1, 2 + height // max(pair[0] - 1, 1)):
            rows = {height // times, -(-height // times)}
            columns = {width // times, -(-width // times)}
            if pair[0] in rows and pair[1] in columns:
                return True
        return False

    def _numbers(
        self, leaves: list[Any], read: tuple[Leaf, ...], size: Pair | None
    ) -> tuple[Leaf, ...]:
        """Recognise the rows and columns of the map among the other arguments."""
        if size is None:
            return read
        found = list(read)
        for place, x in enumerate(leaves):
            if isinstance(x, Size) and tuple(x) == size:
                found[place] = Leaf("size")
            after = leaves[place + 1] if place + 1 < len(leaves) else None
            if _is_number(x) and _is_number(after) and (x, after) == size:
                found[place], found[place + 1] = Leaf("rows"), Leaf("columns")
        return tuple(found)


def _is_number(x: object) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)
