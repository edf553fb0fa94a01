"""Prove a conversion: three comparisons of the 3D model with the 2D one.

(a) kernels on the (H, W) plane, a volume that repeats one image along depth;
(c) kernels on the (D, W) plane, a volume that holds the image there and repeats it along height:
    both must give the 2D answer. (a) alone passes where depth is forgotten; (c) shows that depth is
    treated exactly as height.
(s) the converted model itself, D, H and W all different: every output has the size it should.

Axes: B batch, C channels, D depth, H height, W width.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lean3d.convert.blame import Culprit, attempt, find_culprit
from lean3d.convert.compare import difference, same_sizes, tensors
from lean3d.convert.conversion import Check
from lean3d.convert.inflate import Inflate
from lean3d.convert.lift import Lift
from lean3d.convert.planar import Planar
from lean3d.convert.prepare import precise_copy, without_tiny_gains
from lean3d.convert.rewrite import Plan, duplicate, rewrite
from lean3d.convert.sample import Sample
from lean3d.errors import ConversionError

__all__ = ["compare_planes", "compare_sizes", "planar_twin", "to_meta"]

ALONG_DEPTH, ALONG_HEIGHT = 2, 3
NAMES = {
    ALONG_DEPTH: "(a) image repeated along depth",
    ALONG_HEIGHT: "(c) image in the depth-width plane",
}
SIZES = "(s) sizes of the converted model"
# smallest tolerance, and the largest that conditioning may ask for
TOLERANCE = {torch.float64: (1e-6, 1e-3), torch.float32: (1e-4, 1e-2)}
ROUNDINGS = 1e4  # how many times its own rounding error a deep network may amplify


def compare_planes(
    model: nn.Module, plan: Plan, sample: Sample, axis: int, dtype: torch.dtype
) -> list[tuple[Check, Culprit | None]]:
    """Check (a) or (c), with the model's own weights and with its silent branches woken up."""
    results = []
    for woken in (True, False):
        flat = precise_copy(model, dtype)
        if woken and not without_tiny_gains(flat):
            continue
        expected = flat(*sample.arguments)
        if not tensors(expected):
            raise ConversionError(
                f"{type(model).__name__} returns a {type(expected).__name__} without tensors, so "
                "its conversion cannot be checked; return tensors, or lists or dicts of them"
            )
        if all(tensor.isfinite().all() for tensor in tensors(expected)):
            check, culprit = _compare(flat, expected, plan, sample, axis, dtype)
            note = ", zero gains made random" if woken else ""
            results.append((replace(check, name=check.name + note), culprit))
    if not results:
        raise ConversionError(
            f"{type(model).__name__}: its 2D output is not finite, so nothing can be compared "
            "with it; pass example=, an input it answers"
        )
    return results


def _compare(
    flat: nn.Module, expected: Any, plan: Plan, sample: Sample, axis: int, dtype: torch.dtype
) -> tuple[Check, Culprit | None]:
    deep = duplicate(flat)
    rewrite(deep, replace(plan, how=planar_twin(plan.how, axis - 2)), still=axis - 2)
    tolerance = _tolerance(flat, sample, expected, dtype)
    volume = sample.volume(axis)
    try:
        error: float | None = difference(expected, deep(*volume), axis)
    except Exception:  # whatever a foreign forward raises; find_culprit says what
        error = None
    passed = error is not None and error <= tolerance
    check = Check(NAMES[axis], passed, error, tolerance, sample.shape(axis))
    if passed:
        return check, None
    culprit = find_culprit(flat, deep, (sample.arguments, volume), axis, tolerance)
    return replace(check, detail=culprit.path), culprit


def planar_twin(how: Lift, axis: int) -> Lift:
    """The same rewriting with kernels that do not extend along `axis`."""
    if isinstance(how, Inflate) and axis == 0:
        return replace(how, pad="replicate")  # its own kernels must keep the 2D answer
    return Planar(axis=axis, keep_depth=how.keep_depth)


def _tolerance(flat: nn.Module, sample: Sample, expected: Any, dtype: torch.dtype) -> float:
    """Larger for a model that amplifies a rounding error of its input."""
    least, most = TOLERANCE[dtype]
    eps = torch.finfo(dtype).eps

    def nudged(x: Any) -> Any:
        return x * (1 + eps * torch.randn_like(x).sign()) if torch.is_floating_point(x) else x

    arguments = tuple(nudged(x) if isinstance(x, torch.Tensor) else x for x in sample.arguments)
    return min(max(least, ROUNDINGS * difference(expected, flat(*arguments), 2)), most)


def compare_sizes(
    flat: nn.Module, converted: nn.Module, sample: Sample, keep: bool, dtype: torch.dtype
) -> tuple[Check, Culprit | None]:
    """Check (s).

    Args:
        flat: The 2D model in the precision of the checks.
        keep: Some downsamplings leave depth alone, so it need not end as height does.
    """
    deep = precise_copy(converted, dtype)
    arguments = [sample.arguments, sample.make((sample.depth, sample.size[1]))]
    arguments.append(sample.volume(ALONG_DEPTH, sample.depth))
    if sample.on_meta:
        flat, deep = duplicate(flat).to("meta"), deep.to("meta")
        arguments = [to_meta(group) for group in arguments]
    wide, tall = flat(*arguments[0]), flat(*arguments[1])
    culprit = None
    out, stopped = attempt(deep, arguments[2])
    if stopped is not None:
        culprit = stopped
    elif not same_sizes(wide, tall, out, keep):
        shapes = [[tuple(x.shape) for x in tensors(y)] for y in (wide, out)]
        why = f"the output is {shapes[1]}, in 2D {shapes[0]}"
        culprit = Culprit("", type(deep).__name__, None, why)
    volume = (sample.depth, *sample.size)
    detail = culprit.path if culprit else ""
    return Check(SIZES, culprit is None, None, 0.0, volume, detail), culprit


def to_meta(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.to("meta") if isinstance(x, torch.Tensor) else x for x in arguments)
