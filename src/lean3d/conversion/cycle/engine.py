"""Convert a 2D network by cycling planes: find its blocks, give each a plane, check the result."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.cycle.modules import Resampler, Unit, entries
from lean3d.conversion.cycle.other_sizes import Settings, settings_for_other_sizes
from lean3d.conversion.cycle.parts import TOKENS, Block, Leaf, Network, Resampling
from lean3d.conversion.cycle.plan import CyclePlan
from lean3d.conversion.cycle.proof import Checked, check
from lean3d.conversion.cycle.run import NEAR
from lean3d.conversion.cycle.survey import Survey, survey
from lean3d.conversion.cycle.units import Parts, find_parts
from lean3d.conversion.record import Conversion, Row
from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.surgery.subclass import mixed, own_class
from lean3d.conversion.surgery.swap import remember
from lean3d.conversion.to3d.base import Site, refusal_at
from lean3d.conversion.to3d.keep_depth import levels_of
from lean3d.conversion.to3d.misfit import explain_sizes
from lean3d.conversion.to3d.plane_cycle import PlaneCycle
from lean3d.conversion.to3d.proof.reference import Reference2D, make_reference
from lean3d.conversion.trace.inputs_2d import is_image
from lean3d.conversion.trace.trial_run import run_lightly
from lean3d.errors import ConversionError

__all__ = ["make_cycle"]

Where = Callable[[str, nn.Module], bool]
WHOLE = (128, 192)
ALL = 1 << 20  # more rows of the input than any row of a map is made from


def make_cycle(
    model: nn.Module, how: PlaneCycle, where: Where | None, example: object, *, checked: bool
) -> nn.Module:
    """Return a copy of which each block runs on the planes of a volume in turn.

    Args:
        checked: Run the self-check.

    Raises:
        ConversionError: no block was found, one cannot run on planes, or the self-check fails.
    """
    settings = settings_for_other_sizes(model)
    free = duplicate(model)
    for path, values in settings.items():
        vars(free.get_submodule(path)).update(values)
    layers = how.cycle == "layer"
    flat = make_reference(free, example)
    found = _survey(flat)
    try:
        parts = find_parts(flat.light, found, where, layers)
    except ConversionError as error:
        again = _in_whole_patches(free, example, where, layers)
        if again is None:
            raise error
        flat, found, parts = again
    done, why = None, None
    for plan in _plans(how, settings, found, parts, flat.light):
        try:
            done = check(flat, plan, _rewritten, checked=checked)
            break
        except ConversionError as error:
            why = why or error
    if done is None:
        assert why is not None
        raise why
    return _finish(model, plan, done)


def _in_whole_patches(
    free: nn.Module, example: object, where: Where | None, layers: bool
) -> tuple[Reference2D, Survey, Parts] | None:
    """Find the parts of a network on an image of which every halving is even.

    Blocks that pad a map to whole patches (MobileViTv2) keep the size of such maps alone.
    """
    with suppress(Exception):
        flat = make_reference(free, example, (WHOLE,))
        found = _survey(flat)
        return flat, found, find_parts(flat.light, found, where, layers)
    return None


def _finish(model: nn.Module, plan: CyclePlan, done: Checked) -> nn.Module:
    result = duplicate(model)
    rows = _rewrite(result, plan)
    grade: Any = "cycled" if done.checks else "unchecked"
    note = done.note
    vars(result)["conversion"] = Conversion(plan.how, grade, tuple(rows), done.checks, note)
    explain_sizes(result)
    return result


def _survey(flat: Reference2D) -> Survey:
    """Survey the network on images of two sizes; what differs between them is not known."""
    # batches that no other axis is likely to be as long as, where a run takes no time
    batches = (5, 7) if flat.meta is not None else (2, 3)
    found = _surveyed(flat, flat.light_sample.arguments, batches[0])
    other = None
    with suppress(Exception):  # the model may require one size
        taller = (2 * flat.sample.size[0], flat.sample.size[1])
        other = _surveyed(flat, flat.light_sample.make(taller), batches[1])
    if other is None:
        return found
    for path, calls in found.calls.items():
        for one, two in zip(calls, other.calls.get(path, ()), strict=False):
            one.given = _agreed(one.given, two.given)
            one.returned = _agreed(one.returned, two.returned)
    return found


def _agreed(one: tuple[Leaf, ...], two: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
    return tuple(_either(a, b) for a, b in zip(one, two, strict=False))


def _either(one: Leaf, two: Leaf) -> Leaf:
    """Return what two surveys say of an argument, of which the sure one counts."""
    if one == two or (one.sure and not two.sure):
        return one
    if two.kind == "asked" or (two.sure and not one.sure):
        return two
    return replace(one, kind="unknown")


def _surveyed(flat: Reference2D, arguments: tuple[Any, ...], batch: int) -> Survey:
    before = next(x for x in arguments if is_image(x)).shape[0]

    def repeated(x: object) -> object:
        if not isinstance(x, Tensor) or not x.ndim or x.shape[0] != before:
            return x
        return x.repeat(-(-batch // before), *[1] * (x.ndim - 1))[:batch]

    arguments = tuple(map(repeated, arguments))
    image = next(x for x in arguments if is_image(x))
    return survey(flat.light, image, lambda: run_lightly(flat.light, arguments))


def _plans(
    how: PlaneCycle, settings: Settings, found: Survey, parts: Parts, model: nn.Module
) -> list[CyclePlan]:
    """Return the ways to try, the leanest first."""
    rows = {path: found.calls[path][0] for path in parts.resamplers}
    shrinks = {path: _ratio(call.sizes_in[0], call.sizes_out[0]) for path, call in rows.items()}
    height = found.size[0]
    changed = [call.sizes_in[0][0] for path, call in rows.items() if shrinks[path] > 1]
    changed += [height for _ in found.tilings]
    kept = _kept(how, changed, height)
    entry = [path for path in rows if path in found.reads and shrinks[path] > 1]
    given = how.depth_stride
    result: list[CyclePlan] = []
    at_entry = {shrinks[path] for path in entry} or {tile for tile, _ in found.tilings}
    strides = [given] if given is not None else [1]
    if given is None and how.keep_depth == 0 and len(at_entry) == 1:
        strides = [*at_entry, 1]
    for stride in strides:
        for functions in sorted({bool(parts.functions), True}):
            network = Network(
                how.order,
                how.tokens,
                stride,
                kept,
                any(leaf.kind == "asked" for leaf in _leaves(found, parts)),
                _pitch(found, parts),
                max((leaf.prefix for leaf in _leaves(found, parts)), default=0),
                functions,
                found.calls[""][0].returned,
                tuple(sorted(found.tilings)),
            )
            whole = {
                path: Resampling(
                    path,
                    max(1, shrinks[path]),
                    _is_kept(call.sizes_in[0][0], kept, height)
                    or (path in entry and (given is not None or stride > 1)),
                    *_kind(call.given),
                    call.sizes_in[0],
                    call.sizes_out[0],
                )
                for path, call in rows.items()
            }
            result.append(
                CyclePlan(how, settings, network, {**whole, **_blocks(how, found, parts)})
            )
    return result


def _kind(given: tuple[Leaf, ...]) -> tuple[str, int]:
    """Return how the first map or tokens of some arguments hold slices, and their prefix."""
    if any(leaf.kind == "last" for leaf in given):
        return "last", 0
    leaf = next((leaf for leaf in given if leaf.kind in ("map", *TOKENS)), Leaf("map"))
    return leaf.kind, leaf.prefix


def _blocks(how: PlaneCycle, found: Survey, parts: Parts) -> dict[str, Block]:
    turns = range(len(parts.blocks))
    if how.cycle == "stage":
        sizes = [found.calls[path][0].sizes_in[0] for path in parts.blocks]
        stages = list(dict.fromkeys(sizes))
        if len(stages) == 1 and len(parts.blocks) > 1 and len(how.order) > 1:
            raise ConversionError(
                "the blocks of this network are one stage, so cycle='stage' would run all of them "
                f"on {how.order[0]}; use cycle='block'"
            )
        turns = [stages.index(size) for size in sizes]  # type: ignore[assignment]
    made = {}
    for turn, path in zip(turns, parts.blocks, strict=True):
        call = found.calls[path][0]
        plane = how.order[turn % len(how.order)]
        made[path] = Block(path, plane, call.given, call.returned, call.sizes_in[0])
    return made


def _leaves(found: Survey, parts: Parts) -> list[Any]:
    return [leaf for path in parts.blocks for leaf in found.calls[path][0].given]


def _pitch(found: Survey, parts: Parts) -> tuple[int, int]:
    """Return how many rows, and columns, of the image make one of the map that has tables."""
    for path in parts.blocks:
        call = found.calls[path][0]
        if any(leaf.kind == "asked" for leaf in call.given):
            (height, width), (rows, columns) = found.size, call.sizes_in[0]
            return round(height / rows), round(width / columns)
    return 1, 1


def _ratio(before: tuple[int, int], after: tuple[int, int]) -> int:
    """Return how many rows become one; negative where one becomes several."""
    ratios = [a / b for a, b in zip(before, after, strict=True)]
    if max(ratios) < 1:
        return -round(1 / min(ratios))
    return max(1, round(sum(ratios) / 2))


def _kept(how: PlaneCycle, heights: list[int], height: int) -> int:
    """Return how many rows of the image are one of the smallest map whose downsampling is kept."""
    if how.keep_depth is None:
        return ALL
    levels = levels_of(heights, how.keep_depth)
    first = 1 if how.depth_stride is not None else 0
    count = max(how.keep_depth, min(first, len(levels)))
    return round(height / min(levels[count - 1])) if count else 0


def _is_kept(rows: int, kept: int, height: int) -> bool:
    return NEAR * rows * kept >= height


def _rewritten(model: nn.Module, plan: CyclePlan) -> nn.Module:
    """Return a copy of a 2D model that has its settings already, converted."""
    result = duplicate(model)
    _rewrite(result, replace(plan, settings={}))
    return result


def _rewrite(model: nn.Module, plan: CyclePlan) -> list[Row]:
    rows = []
    changes: dict[str, dict[str, Any]] = {path: dict(v) for path, v in plan.settings.items()}
    for path, part in plan.parts.items():
        changes.setdefault(path, {})["_cycle"] = part
    changes.setdefault("", {}).setdefault("_cycle", plan.network)
    if isinstance(changes[""]["_cycle"], (Block, Resampling)):
        raise refusal_at("", model, "it is one block itself")
    for path, values in changes.items():
        module = model.get_submodule(path)
        remember(module, values, {}, Site(path, plan.how))
        vars(module).update(values)
        if "_cycle" not in values:
            continue
        kind: Block | Resampling | Network = values["_cycle"]
        front = {Block: (Unit,), Resampling: (Resampler,), Network: entries(module)}[type(kind)]
        before = own_class(module).__name__
        module.__class__ = mixed(*front, type(module))
        rows.append(Row(path, before, _after(before, kind), True, True))
    order = {path: place for place, (path, _) in enumerate(model.named_modules())}
    return sorted(rows, key=lambda row: order[row.path])


def _after(before: str, part: Block | Resampling | Network) -> str:
    if isinstance(part, Block):
        return f"{before} on {part.plane}"
    if isinstance(part, Resampling):
        return f"{before}, depth {'kept' if part.kept else 'follows'}"
    averaged = f", {part.depth_stride} slices averaged" if part.depth_stride > 1 else ""
    return f"{before} on slices of {part.order[0]}{averaged}"
