"""The self-check of cycling planes, by value against the 2D network.

(a) with the first plane alone, and depth kept, every slice gives the 2D output;
(p) every block, on its own plane, gives the 2D output of that block on an image of that size;
(c) a volume of one slice gives the output of the image;
(s) the converted network runs on a volume of which D, H and W differ, if images of those sizes do.

Before them, `check_order` checks that the tokens of the first block are those of its map, in order.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from lean3d.conversion.cycle.order import check_order
from lean3d.conversion.cycle.parts import Block, Resampling
from lean3d.conversion.cycle.plan import CyclePlan, Rewrite
from lean3d.conversion.cycle.planes import letters, turn_of, turned
from lean3d.conversion.cycle.run import Cycle, inside
from lean3d.conversion.record import Check
from lean3d.conversion.to3d.proof.reference import Output2D, Reference2D, with_values
from lean3d.conversion.tolerance import largest
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.first_mismatch import why_it_stops
from lean3d.conversion.trace.inputs_2d import is_image
from lean3d.conversion.trace.tree import mapped
from lean3d.conversion.trace.trial_run import run_lightly
from lean3d.errors import ConversionError
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Checked", "check"]

ALONE, ON_PLANES = "(a) each slice, first plane alone", "(p) each block on its plane"
ONE_SLICE, SIZES = "(c) volume of one slice", "(s) sizes"
SLICES = 3


@dataclass(frozen=True)
class Checked:
    """The checks that were passed, and what the network asks of its volumes."""

    checks: tuple[Check, ...]
    note: str = ""


def check(flat: Reference2D, plan: CyclePlan, rewritten: Rewrite, *, checked: bool) -> Checked:
    """Run the self-check of a plan.

    Raises:
        ConversionError: it fails; names the block.
    """
    deep = rewritten(flat.light, plan)
    size, note = _volume_that_fits(flat, plan, deep)
    sizes = Check(SIZES, True, None, 0.0, size)
    if not checked:
        return Checked((), "not asked for")
    if any(x.is_meta for x in [*flat.model.parameters(), *flat.model.buffers()]):
        return Checked((), "weights on the meta device have no values")
    checks = [sizes]
    for answer in flat.outputs:
        with with_values(answer.values):
            check_order(flat, plan)
            checks.append(_alone(flat, answer, plan, rewritten))
            checks += _on_planes(flat, answer, plan, rewritten)
            checks.append(_one_slice(flat, answer, plan, rewritten))
    return Checked((*checks[1:], checks[0]), note)


def _volume_that_fits(
    flat: Reference2D, plan: CyclePlan, deep: nn.Module
) -> tuple[tuple[int, int, int], str]:
    """Return (D, H, W) of a volume on which it runs, the sides different if possible."""
    height, width = flat.sample.size
    why = ""
    lengths = dict.fromkeys((flat.sample.depth, flat.sample.length, height, width))
    for depth in lengths:
        of = dict(zip(letters(plan.how.order[0]), (depth, height, width), strict=True))
        size = (of["D"], of["H"], of["W"])
        volume = _volume(flat.light_sample.arguments, plan, depth)
        try:
            result = run_lightly(deep, volume)
            _check_outputs(flat, plan, result)
        except ConversionError:
            raise
        except Exception as error:  # a user's forward may raise anything
            why = why or why_it_stops(deep, volume) or f"{type(error).__name__}: {error}"
            continue
        note = "" if depth not in (height, width) else "planes have to be of the size of its images"
        return size, note
    raise ConversionError(
        f"{type(flat.model).__name__} cannot run on planes: {why}; leave the block out with "
        "where=, or keep the depth with keep_depth=None"
    )


# axes of an output of an image that one of a volume has too, from the first or the last on
SAME = {"map": (0, 1), "last": (0, -1), "tokens": (0, -1), "first": (1, 2), "channels": (0, 1)}


def _check_outputs(flat: Reference2D, plan: CyclePlan, result: object) -> None:
    """Raise if the outputs are not those of the 2D network, with one axis more or none."""
    wanted = tensors(run_lightly(flat.light, flat.light_sample.arguments))
    found = tensors(result)
    known = [leaf.kind for leaf in plan.network.returned if leaf.kind != "other"]
    kinds = known if len(known) == len(wanted) else [""] * len(wanted)
    fits = len(wanted) == len(found) and all(map(_fits, kinds, wanted, found))
    if not fits:
        shapes = [[tuple(x.shape) for x in group] for group in (found, wanted)]
        raise ValueError(f"outputs of {shapes[0]} where an image gives {shapes[1]}")


def _fits(kind: str, wanted: Tensor, found: Tensor) -> bool:
    if kind == "whole":
        return found.shape == wanted.shape
    deeper = found.ndim - wanted.ndim
    if deeper not in ((1,) if kind in ("map", "last") else (0, 1)):
        return False
    return all(found.shape[axis] == wanted.shape[axis] for axis in SAME.get(kind, ()))


def _volume(arguments: tuple[Any, ...], plan: CyclePlan, slices: int) -> tuple[Any, ...]:
    """Return the arguments with images as volumes of different slices of the first plane."""

    def deepen(x: object) -> object:
        if not is_image(x):
            return x
        made = [x.roll(place, 3) * (1 - place / (2 * slices)) for place in range(slices)]
        volume = torch.stack(made, 2)  # B C N R S
        places = [letters(plan.how.order[0]).index(axis) for axis in "DHW"]
        return volume.permute(0, 1, *(2 + place for place in places))

    return tuple(map(deepen, arguments))


def _alone(flat: Reference2D, answer: Output2D, plan: CyclePlan, rewritten: Rewrite) -> Check:
    """Check (a)."""
    order = plan.how.order[:1]
    how = replace(plan.how, order=order, keep_depth=None, depth_stride=1)
    network = replace(plan.network, order=order, depth_stride=1, kept=1 << 20)
    parts = {
        path: replace(part, kept=True)
        if isinstance(part, Resampling)
        else replace(part, plane=order[0])
        for path, part in plan.parts.items()
    }
    deep = rewritten(flat.model, replace(plan, how=how, network=network, parts=parts))
    given = flat.sample.arguments
    volume = _volume(given, plan, SLICES)
    found = run_lightly(deep, volume)
    folder = Cycle(network, 1, (SLICES, *flat.sample.size))
    flats = [
        tuple(folder.enter(x[:1])[place : place + 1] if _deep(x) else x[:1] for x in volume)
        for place in range(SLICES)
    ]
    outputs = [tensors(run_lightly(flat.model, one)) for one in flats]
    pairs = zip(zip(*outputs, strict=True), tensors(found), strict=True)
    error = max((_slices_differ(list(each), one, order[0]) for each, one in pairs), default=0.0)
    return _verdict(flat, answer, ALONE, error, volume, "the network")


def _deep(x: object) -> TypeGuard[Tensor]:
    return isinstance(x, Tensor) and x.ndim == 5


def _slices_differ(flats: list[Tensor], deep: Tensor, first: str) -> float:
    """Compare the first sample of a 3D output with the 2D outputs of its slices."""
    tokens_first = flats[0].ndim == 3 and flats[0].shape[1] == 1 < flats[0].shape[0]
    deep = deep[:, :1] if tokens_first else deep[:1]
    if deep.ndim == flats[0].ndim == 4 or deep.ndim == 2:
        return largest(torch.stack(flats).mean(0), deep)
    if deep.ndim == 5:
        back = [letters(first).index(axis) for axis in "DHW"]
        maps = torch.stack(flats, 2)  # B C N R S
        ways = [maps.permute(0, 1, *(2 + place for place in back))]
        last = torch.stack(flats, 1)  # B N R S C
        ways.append(last.permute(0, *(1 + place for place in back), 4))
        if maps.shape[3:] == (1, 1):
            ways.append(maps.mean(2, keepdim=True))
        return min(largest(way, deep) for way in ways)
    if deep.ndim == flats[0].ndim == 3:
        return _tokens_differ(flats, deep, first)
    return 0.0


def _tokens_differ(flats: list[Tensor], deep: Tensor, first: str) -> float:
    """Compare tokens: those without a position with their means, the others one by one."""
    mean = torch.stack(flats).mean(0)
    axes = [axis for axis in range(3) if deep.shape[axis] != mean.shape[axis]]
    if len(axes) != 1:
        return largest(mean, deep)
    axis, slices = axes[0], len(flats)
    one, whole = mean.shape[axis], deep.shape[axis]
    prefix = (slices * one - whole) // (slices - 1)
    # the others are in the order of depth, height and width
    in_order = letters(first) == "DHW"
    placed = [x.narrow(axis, prefix, one - prefix) for x in flats] if in_order else []
    wanted = torch.cat([mean.narrow(axis, 0, prefix), *placed], axis)
    return largest(wanted, deep if in_order else deep.narrow(axis, 0, prefix))


def _one_slice(flat: Reference2D, answer: Output2D, plan: CyclePlan, rewritten: Rewrite) -> Check:
    """Check (c)."""
    deep = rewritten(flat.model, plan)
    volume = _volume(flat.sample.arguments, plan, 1)
    found = run_lightly(deep, volume)
    axis = 2 + "DHW".index(letters(plan.how.order[0])[0])

    pairs = zip(tensors(answer.expected), tensors(found), strict=True)
    error = max((_flat_differ(a, b, axis) for a, b in pairs), default=0.0)
    return _verdict(flat, answer, ONE_SLICE, error, volume, "the network")


def _flat_differ(wanted: Tensor, got: Tensor, axis: int) -> float:
    """Compare an output of an image with that of a volume of one slice."""
    if got.ndim != 5:
        error = largest(wanted, got)
        if got.ndim == 3 and wanted.shape == got.shape:  # tokens in the order of another plane
            error = min(
                error, *(largest(wanted.sort(n).values, got.sort(n).values) for n in (0, 1))
            )
        return error
    rows = 2
    if got.shape[axis] != 1 or got.squeeze(axis).shape[1] != wanted.shape[1]:
        rows, axis = 1, axis - 1  # channels come last
    got = got.squeeze(axis)
    turned = got.transpose(rows, rows + 1)  # a first plane such as WH
    return min(largest(wanted, got), largest(wanted, turned))


class _Calls(Watch):
    """Keeps what blocks are given and return."""

    def __init__(self, model: nn.Module, paths: set[str]):
        super().__init__(model, paths)
        self.given: dict[str, tuple[Args, Kwargs]] = {}
        self.returned: dict[str, Any] = {}

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        self.given.setdefault(path, mapped((args, kwargs), _copy))

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        self.returned.setdefault(path, mapped(output, _copy))


def _copy(x: Tensor) -> Tensor:
    return x.detach().clone() if isinstance(x, Tensor) else x


def _on_planes(
    flat: Reference2D, answer: Output2D, plan: CyclePlan, rewritten: Rewrite
) -> list[Check]:
    """Check (p): a volume that holds a map on the block's plane, and repeats it across."""
    blocks = {path: part for path, part in plan.parts.items() if isinstance(part, Block)}
    first = plan.how.order[0]
    if all(block.plane == first for block in blocks.values()):
        return []
    watch = _Calls(flat.model, set(blocks))
    watch.see(lambda: run_lightly(flat.model, flat.sample.arguments))
    deep = rewritten(flat.model, plan)
    worst, where = 0.0, ""
    for path, block in blocks.items():
        if block.plane == first:
            continue
        error = _block_differs(deep, block, plan, watch.given[path], watch.returned[path])
        if not error <= worst:
            worst, where = error, path
    size = (SLICES, *flat.sample.size)
    return [_verdict(flat, answer, ON_PLANES, worst, None, where, size)]


def _block_differs(
    deep: nn.Module, block: Block, plan: CyclePlan, given: tuple[Args, Kwargs], returned: object
) -> float:
    turn = turn_of(plan.how.order[0], block.plane)
    back = (turn.index(0), turn.index(1), turn.index(2))
    leaves, nest = tree_flatten(given)
    batch = next(
        x.shape[leaf.batch_axis]
        for x, leaf in zip(leaves, block.given, strict=True)
        if leaf.holds_slices
    )
    new = (SLICES, *block.grid)  # slices, rows, columns of the plane
    sizes = (new[back[0]], new[back[1]], new[back[2]])
    cycle = Cycle(plan.network, batch, sizes)
    cycle.asked = {block.plane: {block.path: leaves}}
    inputs = []
    for x, leaf in zip(leaves, block.given, strict=True):
        if leaf.holds_slices:
            kind: Any = leaf.kind
            many = x.repeat_interleave(SLICES, leaf.batch_axis)
            x = turned(many, kind, back, new, leaf.prefix, "mean")[0]
        elif leaf.kind in ("rows", "columns"):
            x = sizes[1 if leaf.kind == "rows" else 2]
        inputs.append(x)
    args, kwargs = tree_unflatten(inputs, nest)
    module = deep.get_submodule(block.path)
    try:
        with inside(cycle), torch.no_grad():
            found = module(*args, **kwargs)
    except Exception:  # a user's forward may raise anything
        return math.inf
    error = 0.0
    outputs, wanted = tree_flatten(found)[0], tree_flatten(returned)[0]
    for y, want, leaf in zip(outputs, wanted, block.returned, strict=True):
        if not leaf.holds_slices:
            continue
        out: Any = leaf.kind
        got = turned(y, out, turn, sizes, leaf.prefix, "mean")[0]
        error = max(error, largest(want.repeat_interleave(SLICES, leaf.batch_axis), got))
    return error


def _verdict(
    flat: Reference2D,
    answer: Output2D,
    name: str,
    error: float,
    volume: Args | None,
    where: str,
    size: tuple[int, ...] = (),
) -> Check:
    tolerance = flat.tolerance(answer, error)
    if not size:
        size = next(tuple(x.shape[2:]) for x in volume or () if _deep(x))
    if error <= tolerance:
        return Check(name + answer.note, True, error, tolerance, size)
    kind = type(flat.model.get_submodule(where)).__name__ if where != "the network" else ""
    who = f"{kind} at {where!r}" if kind else type(flat.model).__name__
    wrong = f"error {error:.1e}" if math.isfinite(error) else "it stops, or gives other sizes"
    raise ConversionError(
        f"{who} cannot run on planes: its output there is not that of the 2D network ({wrong}); "
        f"self-check {name}. Leave it out with where="
    )
