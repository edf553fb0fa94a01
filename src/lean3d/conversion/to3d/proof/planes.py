"""The self-check of a conversion: three comparisons of the 3D model with the 2D one.

(a) kernels on the (H, W) plane, a volume that repeats one image along depth;
(c) kernels on the (D, W) plane, a volume that holds the image there and repeats it along height:
    both must give the 2D output. (a) alone passes if depth is ignored; (c) shows that depth is
    treated exactly as height.
(s) the converted model itself, D, H and W all different: every output has the expected size.

Axes: B batch, C channels, D depth, H height, W width.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.record import Check
from lean3d.conversion.surgery.copies import duplicate, for_a_while
from lean3d.conversion.to3d.base import To3D
from lean3d.conversion.to3d.engine import Plan, flat_paths, rewrite
from lean3d.conversion.to3d.merged.modules import CARRIES
from lean3d.conversion.to3d.planar import Planar
from lean3d.conversion.to3d.proof.reference import Answer, Flat, with_values
from lean3d.conversion.trace.compare import difference, same_sizes
from lean3d.conversion.trace.first_mismatch import Culprit, Run, find_culprit
from lean3d.conversion.trace.input_sizes import Sample
from lean3d.conversion.trace.trial_run import run_lightly

__all__ = ["ALONG_DEPTH", "ALONG_HEIGHT", "Result", "compare_planes", "compare_sizes"]

ALONG_DEPTH, ALONG_HEIGHT = 2, 3
NAMES = {
    ALONG_DEPTH: "(a) image repeated along depth",
    ALONG_HEIGHT: "(c) image in the depth-width plane",
}
THIN = 8
EVEN = 128
SIZES = "(s) sizes of the converted model"

Result = tuple[Check, Callable[[], Culprit]]  # a check, and its first mismatch


def _no_one() -> Culprit:
    raise AssertionError("the check passed")


def compare_planes(flat: Flat, plan: Plan, axis: int) -> list[Result]:
    """Run check (a) or (c), with randomised zero-initialised parameters and with the own."""
    results: list[Result] = []
    for answer in flat.answers:
        results.append(_compare(flat, answer, plan, axis))
        if not results[-1][0].passed:
            break
    return results


def _compare(flat: Flat, answer: Answer, plan: Plan, axis: int) -> Result:
    for length in _lengths(flat, plan, axis):
        error = _error(flat, answer, plan, axis, length)
        if math.isfinite(error):
            break
    tolerance = flat.tolerance(answer, error)
    number = error if math.isfinite(error) else None
    name, shape = NAMES[axis] + answer.note, flat.sample.shape(axis, length)
    check = Check(name, error <= tolerance, number, tolerance, shape)
    if check.passed:
        return check, _no_one
    return check, partial(_blame, flat, answer, plan, axis, length, tolerance)


def _lengths(flat: Flat, plan: Plan, axis: int) -> list[int]:
    """Return how often the image is repeated: the first length at which there is an output.

    It is long enough to be halved as often as height. A model of one fixed height, as with position
    tables, would need a cube of it, so thin volumes are tried first.
    """
    sample = flat.sample
    if plan.how.keep_depth != 0:
        return [sample.even(16, 48, 80)]
    thin = [THIN] if axis == ALONG_DEPTH and sample.length == sample.size[0] else []
    return [*thin, sample.length]


def _error(flat: Flat, answer: Answer, plan: Plan, axis: int, length: int) -> float:
    volume = flat.sample.volume(axis, length)
    with with_values(answer.values), _planes(flat.model, plan, axis), suppress(Exception):
        # a user's forward may raise anything; the first mismatch names it
        found = run_lightly(flat.model, volume)
        _note_carried(flat.model, plan)
        return difference(answer.expected, found, axis)
    return math.inf


def _blame(
    flat: Flat, answer: Answer, plan: Plan, axis: int, length: int, tolerance: float
) -> Culprit:
    image, volume = flat.sample.arguments, flat.sample.volume(axis, length)

    def judge(one: list[Tensor], other: list[Tensor]) -> float:
        error = difference(one, other, axis)
        return error if error > tolerance else 0.0

    with with_values(answer.values):
        other = duplicate(flat.model)
        with _planes(other, plan, axis):
            return find_culprit([(flat.model, image)], (other, volume), judge)


def _note_carried(model: nn.Module, plan: Plan) -> None:
    """Note on the plan which forwards compute sizes that nothing else says along depth."""
    for path, need in plan.needs.items():
        need.carries |= vars(model.get_submodule(path)).get(CARRIES, False)


@contextmanager
def _planes(model: nn.Module, plan: Plan, axis: int) -> Iterator[None]:
    """Prepare the 2D model as the reference of the check."""
    still = axis - 2
    with for_a_while(model):
        rewrite(model, replace(plan, how=_planar_twin(plan.how, still)), still=still)
        yield


def _planar_twin(how: To3D, axis: int) -> To3D:
    """Return the same conversion with kernels that do not extend along `axis`."""
    return how.in_check(axis) or Planar(axis=axis, keep_depth=how.keep_depth)


def compare_sizes(flat: Flat, plan: Plan) -> Result:
    """Check (s)."""
    # modules left 2D do not shrink depth either
    keeps = plan.how.keep_depth != 0 or bool(flat_paths(flat.light, plan))
    results = [_sized(flat, plan, sample, keeps) for sample in _samples(flat, keeps)]
    return next((result for result in results if not result[0].passed), results[0])


def _samples(flat: Flat, keeps: bool) -> list[Sample]:
    """Return the images whose sizes are compared.

    A second height, where depth is kept: halved and doubled, it comes out as it went in, so depth
    has to as well.
    """
    sample = flat.light_sample
    even = replace(sample, size=(EVEN, sample.size[1]))
    if keeps:
        with suppress(Exception):  # the model may require one size
            run_lightly(flat.light, even.arguments)
            return [sample, even]
    return [sample]


def _sized(flat: Flat, plan: Plan, sample: Sample, keeps: bool) -> Result:
    model, depth = flat.light, _even_depth(flat, sample) if keeps else sample.depth
    kept = (depth, sample.size[0]) if keeps else None
    flats = [(model, image) for image in (sample.arguments, sample.make((depth, sample.size[1])))]
    wide, tall = (run_lightly(*run) for run in flats)
    fits, passed = partial(same_sizes, kept=kept), False
    volume = sample.volume(ALONG_DEPTH, depth)
    with for_a_while(model), suppress(Exception):  # a user's forward may raise anything
        rewrite(model, plan)
        found = run_lightly(model, volume)
        _note_carried(model, plan)
        passed = fits(wide, tall, found)
    check = Check(SIZES, passed, None, 0.0, (depth, *sample.size))
    return check, _no_one if passed else partial(_blame_sizes, flat, plan, flats, volume, fits)


def _even_depth(flat: Flat, sample: Sample) -> int:
    """Return a depth that is halved without a remainder, if the 2D model runs on such images."""
    for depth in (sample.even(64, 32, 96), sample.even(224, 256)):
        with suppress(Exception):  # the model may require one size
            run_lightly(flat.light, sample.make((depth, sample.size[1])))
            return depth
    return sample.depth


def _blame_sizes(flat: Flat, plan: Plan, flats: list[Run], volume: Any, fits: Any) -> Culprit:
    other = duplicate(flat.light)
    rewrite(other, plan)
    return find_culprit(
        flats, (other, volume), lambda *outputs: 0.0 if fits(*outputs) else math.inf
    )
