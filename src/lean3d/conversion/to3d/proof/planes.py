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
from lean3d.conversion.to3d.proof.reference import Output2D, Reference2D, with_values
from lean3d.conversion.trace.compare import difference, same_sizes
from lean3d.conversion.trace.first_mismatch import Mismatch, Run, find_first_mismatch
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

Result = tuple[Check, Callable[[], Mismatch]]  # a check, and its first mismatch


def _no_one() -> Mismatch:
    raise AssertionError("the check passed")


def compare_planes(reference: Reference2D, plan: Plan, axis: int) -> list[Result]:
    """Run check (a) or (c), with randomised zero-initialised parameters and with the own."""
    results: list[Result] = []
    for output in reference.outputs:
        results.append(_compare(reference, output, plan, axis))
        if not results[-1][0].passed:
            break
    return results


def _compare(reference: Reference2D, output: Output2D, plan: Plan, axis: int) -> Result:
    for length in _lengths(reference, plan, axis):
        error = _error(reference, output, plan, axis, length)
        if math.isfinite(error):
            break
    tolerance = reference.tolerance(output, error)
    number = error if math.isfinite(error) else None
    name, shape = NAMES[axis] + output.note, reference.sample.shape(axis, length)
    check = Check(name, error <= tolerance, number, tolerance, shape)
    if check.passed:
        return check, _no_one
    return check, partial(_blame, reference, output, plan, axis, length, tolerance)


def _lengths(reference: Reference2D, plan: Plan, axis: int) -> list[int]:
    """Return how often the image is repeated: the first length at which there is an output.

    It is long enough to be halved as often as height. A model of one fixed height, as with position
    tables, would need a cube of it, so thin volumes are tried first.
    """
    sample = reference.sample
    if plan.how.keep_depth != 0:
        return [sample.unused_length(16, 48, 80)]
    thin = [THIN] if axis == ALONG_DEPTH and sample.length == sample.size[0] else []
    return [*thin, sample.length]


def _error(reference: Reference2D, output: Output2D, plan: Plan, axis: int, length: int) -> float:
    volume = reference.sample.volume(axis, length)
    with with_values(output.values), _planes(reference.model, plan, axis), suppress(Exception):
        # a user's forward may raise anything; the first mismatch names it
        found = run_lightly(reference.model, volume)
        _note_carried(reference.model, plan)
        return difference(output.expected, found, axis)
    return math.inf


def _blame(
    reference: Reference2D, output: Output2D, plan: Plan, axis: int, length: int, tolerance: float
) -> Mismatch:
    image, volume = reference.sample.arguments, reference.sample.volume(axis, length)

    def judge(one: list[Tensor], other: list[Tensor]) -> float:
        error = difference(one, other, axis)
        return error if error > tolerance else 0.0

    with with_values(output.values):
        other = duplicate(reference.model)
        with _planes(other, plan, axis):
            return find_first_mismatch([(reference.model, image)], (other, volume), judge)


def _note_carried(model: nn.Module, plan: Plan) -> None:
    """Note on the plan which forwards compute sizes that nothing else says along depth."""
    for path, need in plan.needs.items():
        need.carries |= vars(model.get_submodule(path)).get(CARRIES, False)


@contextmanager
def _planes(model: nn.Module, plan: Plan, axis: int) -> Iterator[None]:
    """Prepare the 2D model as the reference of the check."""
    twin = replace(plan, how=_planar_twin(plan.how, axis - 2))
    with for_a_while(model):
        rewrite(model, twin, constant_axis=axis - 2)
        yield


def _planar_twin(how: To3D, axis: int) -> To3D:
    """Return the same conversion with kernels that do not extend along `axis`."""
    return how.in_check(axis) or Planar(axis=axis, keep_depth=how.keep_depth)


def compare_sizes(reference: Reference2D, plan: Plan) -> Result:
    """Check (s)."""
    # modules left 2D do not shrink depth either
    keeps = plan.how.keep_depth != 0 or bool(flat_paths(reference.light, plan))
    results = [_sized(reference, plan, sample, keeps) for sample in _samples(reference, keeps)]
    return next((result for result in results if not result[0].passed), results[0])


def _samples(reference: Reference2D, keeps: bool) -> list[Sample]:
    """Return the images whose sizes are compared.

    A second height, where depth is kept: halved and doubled, it comes out as it went in, so depth
    has to as well.
    """
    sample = reference.light_sample
    even = replace(sample, size=(EVEN, sample.size[1]))
    if keeps:
        with suppress(Exception):  # the model may require one size
            run_lightly(reference.light, even.arguments)
            return [sample, even]
    return [sample]


def _sized(reference: Reference2D, plan: Plan, sample: Sample, keeps: bool) -> Result:
    model, depth = reference.light, _even_depth(reference, sample) if keeps else sample.depth
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
    return check, _no_one if passed else partial(_blame_sizes, reference, plan, flats, volume, fits)


def _even_depth(reference: Reference2D, sample: Sample) -> int:
    """Return a depth that is halved without a remainder, if the 2D model runs on such images."""
    for depth in (sample.unused_length(64, 32, 96), sample.unused_length(224, 256)):
        with suppress(Exception):  # the model may require one size
            run_lightly(reference.light, sample.make((depth, sample.size[1])))
            return depth
    return sample.depth


def _blame_sizes(
    reference: Reference2D, plan: Plan, flats: list[Run], volume: Any, fits: Any
) -> Mismatch:
    other = duplicate(reference.light)
    rewrite(other, plan)
    return find_first_mismatch(
        flats, (other, volume), lambda *outputs: 0.0 if fits(*outputs) else math.inf
    )
