"""Prove a conversion: three comparisons of the 3D model with the 2D one.

(a) kernels on the (H, W) plane, a volume that repeats one image along depth;
(c) kernels on the (D, W) plane, a volume that holds the image there and repeats it along height:
    both must give the 2D answer. (a) alone passes where depth is forgotten; (c) shows that depth is
    treated exactly as height.
(s) the converted model itself, D, H and W all different: every output has the size it should.

Axes: B batch, C channels, D depth, H height, W width.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from torch import nn

from lean3d.convert.blame import Culprit, attempt, find_culprit
from lean3d.convert.compare import difference, same_sizes, tensors
from lean3d.convert.conversion import Check
from lean3d.convert.copies import duplicate, for_a_while
from lean3d.convert.inflate import Inflate
from lean3d.convert.lift import Lift
from lean3d.convert.planar import Planar
from lean3d.convert.prepare import Answer, Flat, with_values
from lean3d.convert.rewrite import Plan, rewrite
from lean3d.convert.sizes import run_lightly

__all__ = ["ALONG_DEPTH", "ALONG_HEIGHT", "Result", "compare_planes", "compare_sizes"]

ALONG_DEPTH, ALONG_HEIGHT = 2, 3
NAMES = {
    ALONG_DEPTH: "(a) image repeated along depth",
    ALONG_HEIGHT: "(c) image in the depth-width plane",
}
SIZES = "(s) sizes of the converted model"

Result = tuple[Check, Callable[[], Culprit]]  # a check, and what says which module fails it


def _no_one() -> Culprit:
    raise AssertionError("the check passed")


def compare_planes(flat: Flat, plan: Plan, axis: int) -> list[Result]:
    """Check (a) or (c), with the model's own weights and with its silent branches woken up."""
    return [_compare(flat, answer, plan, axis) for answer in flat.answers]


def _compare(flat: Flat, answer: Answer, plan: Plan, axis: int) -> Result:
    length, error = _length(flat, plan), math.inf
    volume = flat.sample.volume(axis, length)
    with with_values(answer.values), _planes(flat.model, plan, axis), suppress(Exception):
        # whatever a foreign forward raises; the culprit says what
        error = difference(answer.expected, flat.model(*volume), axis)
    tolerance = flat.tolerance(answer, error)
    number = None if math.isinf(error) else error
    name, shape = NAMES[axis] + answer.note, flat.sample.shape(axis, length)
    check = Check(name, error <= tolerance, number, tolerance, shape)
    if check.passed:
        return check, _no_one
    return check, partial(_blame, flat, answer, plan, axis, tolerance)


def _length(flat: Flat, plan: Plan) -> int:
    """How often the image is repeated; often enough to be halved where height is not."""
    keeps = plan.how.keep_depth != 0
    return flat.sample.even(16, 48, 80) if keeps else flat.sample.length


def _blame(flat: Flat, answer: Answer, plan: Plan, axis: int, tolerance: float) -> Culprit:
    inputs = flat.sample.arguments, flat.sample.volume(axis, _length(flat, plan))
    with with_values(answer.values):
        other = duplicate(flat.model)
        with _planes(other, plan, axis):
            return find_culprit(flat.model, other, inputs, axis, tolerance)


@contextmanager
def _planes(model: nn.Module, plan: Plan, axis: int) -> Iterator[None]:
    """Let the 2D model be what the check compares with it."""
    still = axis - 2
    with for_a_while(model):
        rewrite(model, replace(plan, how=_planar_twin(plan.how, still)), still=still)
        yield


def _planar_twin(how: Lift, axis: int) -> Lift:
    """The same rewriting with kernels that do not extend along `axis`."""
    if isinstance(how, Inflate) and axis == 0:
        return replace(how, pad="replicate")  # its own kernels must keep the 2D answer
    return Planar(axis=axis, keep_depth=how.keep_depth)


def compare_sizes(flat: Flat, plan: Plan) -> Result:
    """Check (s)."""
    sample, model = flat.sample, flat.light
    keeps = plan.how.keep_depth != 0
    depth = sample.even(64, 32, 96) if keeps else sample.depth
    images = [sample.arguments, sample.make((depth, sample.size[1]))]
    wide, tall = (run_lightly(model, image) for image in images)
    with for_a_while(model):
        rewrite(model, plan)
        out, culprit = attempt(model, sample.volume(ALONG_DEPTH, depth))
    kept = (depth, sample.size[0]) if keeps else None
    if culprit is None and not same_sizes(wide, tall, out, kept):
        shapes = [[tuple(x.shape) for x in tensors(y)] for y in (wide, out)]
        why = f"the output is {shapes[1]}, in 2D {shapes[0]}"
        culprit = Culprit("", type(model).__name__, None, why)
    check = Check(SIZES, culprit is None, None, 0.0, (depth, *sample.size))
    return check, _no_one if culprit is None else lambda: culprit
