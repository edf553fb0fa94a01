"""Run the self-checks of a conversion, grade it, and refuse models that fail."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from lean3d.conversion.record import Check, Grade
from lean3d.conversion.to3d.analyse import Need
from lean3d.conversion.to3d.base import To3D
from lean3d.conversion.to3d.engine import Plan
from lean3d.conversion.to3d.proof.planes import (
    ALONG_DEPTH,
    ALONG_HEIGHT,
    Result,
    compare_planes,
    compare_sizes,
)
from lean3d.conversion.to3d.proof.reference import Reference2D
from lean3d.conversion.trace.first_mismatch import Mismatch
from lean3d.errors import ConversionError

__all__ = ["Proof", "first_that_holds", "prove", "prove_sizes"]

MOST_CHARACTERS = 400


@dataclass(frozen=True)
class Proof:
    """The results of the checks of one plan.

    Args:
        failure: The first unacceptable result, and what would make it acceptable.
    """

    plan: Plan
    grade: Grade
    results: list[Result]
    failure: tuple[Result, str] | None = None

    @property
    def checks(self) -> tuple[Check, ...]:
        return tuple(
            check if check.passed else replace(check, detail=blame().path)
            for check, blame in self.results
        )

    def insist(self) -> "Proof":
        """Raise ConversionError if it failed; names the first module that differs."""
        if self.failure is None:
            return self
        (check, blame), otherwise = self.failure
        raise ConversionError(_explain(check, blame(), self.plan, otherwise))


def prove(reference: Reference2D, plan: Plan, planar_is_enough: bool) -> Proof:
    """Run the checks and grade the conversion; stop at the first unacceptable failure."""
    sizes = prove_sizes(reference, plan)
    if sizes.failure is not None:  # found at no cost
        return sizes
    how: To3D = plan.how
    results = compare_planes(reference, plan, ALONG_DEPTH)
    # a forward that compares height with width
    if reference.turned is not None and _first_failure(results) is None:
        results += compare_planes(reference.turned, plan, ALONG_DEPTH)
    # modules that preserve depth cannot treat it as height; the rest of the model can
    alike = replace(plan, how=replace(how, keep_depth=0), kept={})
    note = ", no depth kept" if how.keep_depth != 0 else ""
    if (failed := _first_failure(results)) is not None:
        return Proof(plan, "unchecked", results, (failed, ""))
    along_height = compare_planes(reference, alike, ALONG_HEIGHT)
    results += [(replace(check, name=check.name + note), blame) for check, blame in along_height]
    if (failed := _first_failure(results)) is not None and not note and not planar_is_enough:
        return Proof(plan, "planar", results, (failed, ', or accept="planar"'))
    isotropic = failed is None and how.keep_depth == 0
    grade: Grade = "isotropic" if isotropic else "planar"
    return Proof(plan, grade, [*results, *sizes.results])


def prove_sizes(reference: Reference2D, plan: Plan) -> Proof:
    """Run the part of the self-check that needs no values."""
    result = compare_sizes(reference, plan)
    return Proof(plan, "unchecked", [result], None if result[0].passed else (result, ""))


def first_that_holds(
    plans: list[Plan], examine: Callable[[Plan], Proof], *, insist: bool = True
) -> Proof:
    """Return the self-check of the first plan that passes every check, or else one that is enough.

    A plan can be enough that ignores depth where another treats it as height.

    Args:
        insist: Raise ConversionError if none is enough.
    """
    best: Proof | None = None
    for plan in plans:
        last = plan is plans[-1] and best is None
        try:
            proof = examine(plan)
        except ConversionError:
            if last:
                raise
            continue
        if proof.failure is None and _first_failure(proof.results) is None:
            return proof
        if best is None and (last or proof.failure is None):
            best = proof
    assert best is not None
    return best.insist() if insist else best


def _first_failure(results: list[Result]) -> Result | None:
    return next((result for result in results if not result[0].passed), None)


def _explain(check: Check, mismatch: Mismatch, plan: Plan, otherwise: str) -> str:
    """Return the true reason, the line of code if the sentence stays short, and what would help."""
    where = f"at {mismatch.path!r}" if mismatch.path else "(the model itself)"
    need = plan.needs.get(mismatch.path, Need())
    name, line = next(iter(need.without_rule.items()), ("", need.line))
    file = ":".join(line.split(":")[:2])
    for at in (f" ({line})" if line else "", f" ({file})" if file else ""):
        if name:
            why = f"there is no 3D rule for {name}{at}, which its forward calls"
        else:
            why = f"its forward treats the tensor as 2D{at}, because on a volume {_wrong(mismatch)}"
        text = f"{mismatch.kind} {where} cannot be converted: {why}; self-check {check.name}. "
        text += _remedy(mismatch, bool(name), otherwise)
        if len(text) <= MOST_CHARACTERS:
            break
    return text


def _wrong(mismatch: Mismatch) -> str:
    if mismatch.error is None:
        return mismatch.why
    return f"it gives another output than in 2D (error {mismatch.error:.1e})"


def _remedy(mismatch: Mismatch, lacks_rule: bool, otherwise: str) -> str:
    if mismatch.kind in ("Flatten", "Linear"):
        return (
            "What is flattened before a linear layer must not grow with depth: pool it to one "
            f"voxel first, as nn.AdaptiveAvgPool2d(1) does{otherwise}"
        )
    write = "Write one with function_rule" if lacks_rule else "Write it for (B, C, D, H, W)"
    leave = ", leave it out with where= and put a 3D module in its place" if mismatch.path else ""
    return f"{write}{leave}{otherwise}"
