"""Find how a 2D model converts, and check it, on copies alone."""

from dataclasses import replace
from functools import partial

from torch import nn

from lean3d.conversion.record import Grade
from lean3d.conversion.to3d.analyse import Need, analyse
from lean3d.conversion.to3d.base import Site, To3D
from lean3d.conversion.to3d.engine import Plan, Where, flat_paths, refuse_what_has_no_rule
from lean3d.conversion.to3d.keep_depth import kept_calls
from lean3d.conversion.to3d.proof.grade import Proof, first_that_holds, prove, prove_sizes
from lean3d.conversion.to3d.proof.reference import Reference2D, make_reference
from lean3d.conversion.to3d.rules.registry import find_rule
from lean3d.conversion.trace.ops_table import NATIVE
from lean3d.conversion.trace.trial_run import run_lightly

__all__ = ["proven"]

EVEN = 64


def proven(
    model: nn.Module, how: To3D, where: Where | None, example: object, accepted: Grade
) -> tuple[Proof, str]:
    """Return a plan with its self-check, and why nothing was checked, if so.

    Raises:
        ConversionError: a module has no 3D form, no image was found on which the model runs, or
            the self-check fails.
    """
    plan = Plan(how, where)
    refuse_what_has_no_rule(model, plan)
    reference = make_reference(model, example)
    needs, hidden = _survey(reference, plan)
    native = hidden
    if how.keep_depth != 0:
        run = partial(run_lightly, reference.light, reference.sample.arguments)
        plan = replace(plan, kept=kept_calls(reference.light, how, run, plan.selects))
        # functions that preserve depth use a different 3D rule
        hidden = hidden | {path: need for path, need in needs.items() if path in plan.kept}
    # try the forward unmodified first: it may be dimension-agnostic; one that resizes to the
    # size of another map keeps depth by itself
    middle = [] if native.keys() == hidden.keys() else [native]
    tried = [hidden, *middle, needs] if middle or hidden.keys() != needs.keys() else [needs]
    plans = [replace(plan, needs=some) for some in tried]
    why = _why_unchecked(model, accepted, flat_paths(model, plans[-1]))
    return _examine(reference, plans, accepted, why), why


def _examine(
    reference: Reference2D, plans: list[Plan], accepted: Grade, why_unchecked: str
) -> Proof:
    """Return the first plan that passes every check that can be run."""
    if not why_unchecked:
        return first_that_holds(
            plans, partial(prove, reference, planar_is_enough=accepted == "planar")
        )
    # without values, merging depth is the safer choice
    insist = accepted != "unchecked" and _is_on_meta(reference.model)
    return first_that_holds(plans[::-1], partial(prove_sizes, reference), insist=insist)


def _survey(found: Reference2D, plan: Plan) -> tuple[dict[str, Need], dict[str, Need]]:
    """Return the needs of forwards that assume 4-D input, and those that do so only in training."""
    flat, sample = found.light, found.sample
    ruled = [
        path
        for path, module in flat.named_modules()
        if plan.selects(path, module) and find_rule(module, Site(path, plan.how)) is not None
    ]
    needs = analyse(flat, ruled, lambda: run_lightly(flat, sample.arguments))
    # compare even after every halving, as the first height was odd: size-dependent padding differs
    tall = sample.make((EVEN * (2 * sample.size[0] // EVEN + 1), sample.size[1]))
    seen: dict[str, Need] = {}
    for training in (False, True):
        try:
            other = analyse(flat.train(training), ruled, lambda: run_lightly(flat, tall))
        except Exception:  # the model may require one size, or a larger batch for training
            continue
        finally:
            flat.eval()
        seen = seen if training else other
        needs = {path: need.and_also(other[path]) for path, need in needs.items()}
    speaking = {path: need for path, need in needs.items() if need.kind != NATIVE}
    quiet = {path for path, need in (seen or needs).items() if need.kind == NATIVE}
    return speaking, {path: need for path, need in speaking.items() if path in quiet}


def _is_on_meta(model: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


def _why_unchecked(model: nn.Module, accepted: Grade, left: list[str]) -> str:
    if accepted == "unchecked":
        return 'self-check skipped: accept="unchecked"'
    if left:
        return f"self-check skipped: where= left {len(left)} modules 2D, first {left[0]!r}"
    if _is_on_meta(model):
        return "self-check of sizes alone: the model is on the meta device and has no values"
    return ""
