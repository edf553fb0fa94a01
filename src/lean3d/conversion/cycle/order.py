"""Check that tokens are those of a map, row by row, after those without a position.

Which token is where is not seen in their number: class tokens may come last, and patches column by
column. Nor do the sizes of a map of (N, 64, 64, 64) show where its channels are. An image that is
changed in one place shows it.

Axes: B batch, C channels; R rows, S columns, G tokens without a position.
"""

from contextlib import suppress
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from lean3d.conversion.cycle.parts import TOKENS, Block, Leaf
from lean3d.conversion.cycle.plan import CyclePlan
from lean3d.conversion.to3d.proof.reference import Reference2D
from lean3d.conversion.trace.inputs_2d import is_image
from lean3d.conversion.trace.trial_run import run_lightly
from lean3d.errors import ConversionError
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["check_order"]


def check_order(flat: Reference2D, plan: CyclePlan) -> None:
    """Raise ConversionError if the first block's tokens are not in order; names the block."""
    blocks = [part for part in plan.parts.values() if isinstance(part, Block)]
    # after the first one a change may be everywhere
    maps = ((b, n) for b in blocks for n, leaf in enumerate(b.given) if not leaf.sure)
    for unsure, number in islice(maps, 1):
        _check_map(flat, unsure, number)
    block = next(iter(blocks), None)
    if block is None:
        return
    place = next((n for n, leaf in enumerate(block.given) if leaf.kind in TOKENS), None)
    if place is None:
        return
    leaf, (rows, columns) = block.given[place], block.grid

    def read(change: Any) -> Tensor:
        return _tokens(_given(flat, change, block.path, place), leaf)

    own = read(lambda x: x)
    count = leaf.prefix + rows * columns
    still = (read(lambda x: -x.flip(2, 3) - 1) == own).all(2).all(0)
    if still.any() and not torch.equal(still, torch.arange(count) < leaf.prefix):
        where = still.nonzero().flatten().tolist()
        raise _refusal(flat, block, f"tokens {where[:3]} of {count} do not depend on the image")
    for row, column in ((0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)):

        def change(x: Tensor, row: int = row, column: int = column) -> Tensor:
            return _changed(x, row / rows, column / columns, rows, columns)

        moved = (read(change) - own).abs().sum((0, 2))[leaf.prefix :]
        if not moved.any():
            continue
        found = divmod(int(moved.argmax()), columns)
        alone = int((moved > 0).sum()) == 1
        far = abs(found[0] - row) > rows / 2 and abs(found[1] - column) > columns / 2
        if far or (alone and found != (row, column)):
            raise _refusal(flat, block, "its tokens are not those of a map, row by row")


def _check_map(flat: Reference2D, block: Block, place: int) -> None:
    """Raise ConversionError if channels are last in a map of as many channels as rows."""
    rows, columns = block.grid
    own = _given(flat, lambda x: x, block.path, place)
    changed = _given(flat, lambda x: _changed(x, 0, 0, rows, columns), block.path, place)
    moved = (changed != own).any(0)
    first, last = (int(moved.any(axes).sum()) for axes in ((1, 2), (0, 1)))
    if moved.any() and first <= last:
        kind = type(flat.model.get_submodule(block.path)).__name__
        raise ConversionError(
            f"{kind} at {block.path!r} cannot run on planes: its map of {tuple(own.shape[1:])} may "
            "hold channels last, which is seen for images of another size alone; leave the block "
            "out with where=, or let the network take one"
        )


def _refusal(flat: Reference2D, block: Block, why: str) -> ConversionError:
    kind = type(flat.model.get_submodule(block.path)).__name__
    return ConversionError(
        f"{kind} at {block.path!r} cannot run on planes: {why}; tokens without a position come "
        "first, then those of the map, row by row"
    )


def _changed(x: Tensor, down: float, along: float, rows: int, columns: int) -> Tensor:
    """Return an image with other values in the middle of one patch."""
    height, width = x.shape[2:]
    y, z = int((down + 0.5 / rows) * height), int((along + 0.5 / columns) * width)
    x = x.clone()
    x[:, :, y, z] = -x[:, :, y, z] - 1
    return x


class _First(Watch):
    """Keeps what the first call of a module is given, and ends the run there."""

    def __init__(self, model: Any, path: str):
        super().__init__(model, {path})
        self.given: list[Any] = []

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        self.given = tree_flatten((args, kwargs))[0]
        raise _SeenError


class _SeenError(Exception):
    pass


def _given(flat: Reference2D, change: Any, path: str, place: int) -> Tensor:
    """Return what a block is given for a changed image."""
    arguments = tuple(change(x) if is_image(x) else x for x in flat.sample.arguments)
    watch = _First(flat.model, path)
    with suppress(_SeenError):
        watch.see(lambda: run_lightly(flat.model, arguments))
    given: Tensor = watch.given[place]
    return given.detach().clone()


def _tokens(x: Tensor, leaf: Leaf) -> Tensor:
    """Return (B, G + R * S, C): tokens that a block is given."""
    axis = TOKENS[leaf.kind]
    return x.movedim(axis, 1) if axis == 0 else x.transpose(1, axis)
