"""Run the self-checks of a conversion, grade it, and refuse what fails."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from lean3d.convert.blame import Culprit
from lean3d.convert.check import ALONG_DEPTH, ALONG_HEIGHT, compare_planes, compare_sizes
from lean3d.convert.conversion import Check, Grade
from lean3d.convert.lift import Lift
from lean3d.convert.prepare import precise_copy
from lean3d.convert.rewrite import Plan
from lean3d.convert.sample import Sample, find_sample
from lean3d.errors import ConversionError

__all__ = ["Found", "prove", "prove_sizes", "quietly", "sample_for"]

Result = tuple[Check, Culprit | None]
Found = tuple[nn.Module, Sample, torch.dtype]  # the 2D model in the precision of the checks


@contextmanager
def quietly(model: nn.Module) -> Iterator[None]:
    """No gradients, no warnings from trial runs, one thread; the caller's random state stays."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.no_grad(), warnings.catch_warnings(), torch.random.fork_rng(devices=list(devices)):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        with _one_thread():
            yield


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tiny double-precision convolutions run group by group, and threads only wait for each other.

    Measured on two busy cores, EfficientNet-B0: 48 s with two threads, 5 s with one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def sample_for(model: nn.Module, example: object) -> Found:
    """The 2D model in the precision of the checks, and a sample that runs; double if it can."""
    flat = precise_copy(model, torch.float64)
    try:
        return flat, find_sample(flat, example), torch.float64
    except ConversionError:
        # a forward that says .float() cannot run in double
        flat = precise_copy(model, torch.float32)
        return flat, find_sample(flat, example), torch.float32


def prove(
    model: nn.Module,
    converted: nn.Module,
    plan: Plan,
    found: Found,
    planar_will_do: bool,
) -> tuple[Grade, tuple[Check, ...]]:
    """Grade the conversion.

    Raises:
        ConversionError: it changes what the model computes; names the first module that does.
    """
    _, sample, dtype = found
    how: Lift = plan.how
    along_depth = compare_planes(model, plan, sample, ALONG_DEPTH, dtype)
    _refuse_failures(along_depth, plan)
    # what leaves depth alone cannot treat it as height; the rest of the model can
    alike = replace(plan, how=replace(how, keep_depth=0), kept=())
    along_height = compare_planes(model, alike, sample, ALONG_HEIGHT, dtype)
    if how.keep_depth != 0:
        note = ", no depth kept"
        along_height = [(replace(c, name=c.name + note), culprit) for c, culprit in along_height]
    if how.keep_depth == 0 and not planar_will_do:
        _refuse_failures(along_height, plan, ', or accept="planar"')
    sizes = prove_sizes(converted, plan, found)
    checks = (*(check for check, _ in [*along_depth, *along_height]), *sizes)
    isotropic = how.keep_depth == 0 and all(check.passed for check in checks)
    return ("isotropic" if isotropic else "planar"), checks


def prove_sizes(converted: nn.Module, plan: Plan, found: Found) -> tuple[Check, ...]:
    """The part of the proof that needs no values.

    Raises:
        ConversionError: an output has another size than the 2D model says; names the module.
    """
    flat, sample, dtype = found
    sizes = [compare_sizes(flat, converted, sample, plan.how.keep_depth != 0, dtype)]
    _refuse_failures(sizes, plan)
    return tuple(check for check, _ in sizes)


def _refuse_failures(results: list[Result], plan: Plan, otherwise: str = "") -> None:
    for check, culprit in results:
        if culprit is not None:
            raise ConversionError(_explain(check, culprit, plan) + otherwise)


def _explain(check: Check, culprit: Culprit, plan: Plan) -> str:
    where = f"at {culprit.path!r}" if culprit.path else "(the model itself)"
    if culprit.error is not None:
        wrong = f"it gives another answer than in 2D (error {culprit.error:.1e})"
    else:
        wrong = culprit.why
    line = plan.needs[culprit.path].line if culprit.path in plan.needs else ""
    line = f" ({line})" if line else ""
    return (
        f"{culprit.kind} {where} cannot be converted: its forward treats the tensor as 2D{line}, "
        f"because on a volume {wrong}; self-check {check.name}. {_remedy(culprit)}"
    )


def _remedy(culprit: Culprit) -> str:
    if culprit.kind in ("Flatten", "Linear"):
        return (
            "What is flattened before a linear layer must not grow with depth: pool it to one "
            "voxel first, as nn.AdaptiveAvgPool2d(1) does"
        )
    return "Write that forward for (B, C, D, H, W), for example with modules instead of functions"
