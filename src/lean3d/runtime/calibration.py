"""The inputs that int8 is calibrated on, and what it costs on them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.tolerance import TINY
from lean3d.conversion.trace.tree import copies
from lean3d.errors import LeanError
from lean3d.runtime.source import Runner, Source
from lean3d.typed import shortened

__all__ = ["check_calibration", "cost", "listed"]

Arguments = tuple[Tensor, ...]


def check_calibration(
    model: nn.Module,
    arguments: Arguments,
    calibration: Sequence[Tensor | Arguments] | None,
    precision: str,
) -> tuple[Arguments, ...]:
    """Return the samples, each a tuple of arguments like the example; () for other precisions.

    Raises:
        LeanError: int8 has no samples, another precision has some, or the model does not run.
    """
    samples = listed(calibration, precision, "inputs such as the network", "one input")
    return tuple(_checked(model, arguments, given, place) for place, given in enumerate(samples))


def listed(
    calibration: object, precision: str, whose: str, least: str
) -> list[Any] | tuple[Any, ...]:
    """Return the samples that int8 is given; () for other precisions.

    Args:
        whose: What they are a list of, for the error: "inputs such as the network".
        least: The fewest, for the error: "one input".

    Raises:
        LeanError: int8 has no samples, or another precision has some.
    """
    if precision != "int8":
        if calibration is not None:
            raise LeanError(f"optimize: calibration= is for int8, the precision is {precision}")
        return ()
    if calibration is None:
        raise LeanError(
            f"optimize: int8 needs calibration=, a list of {whose} meets in use; some tens of them"
        )
    if not isinstance(calibration, (list, tuple)) or not calibration:
        raise LeanError(
            f"optimize: calibration is a list of {least} or more, got "
            f"{shortened(calibration) or 'none'}"
        )
    return calibration


def _checked(
    model: nn.Module, arguments: Arguments, given: Tensor | Arguments, place: int
) -> Arguments:
    sample = given if isinstance(given, tuple) else (given,)
    fits = len(sample) == len(arguments) and all(
        isinstance(x, Tensor) and (x.ndim, x.dtype, x.device) == (y.ndim, y.dtype, y.device)
        for x, y in zip(sample, arguments, strict=True)
    )
    if not fits:
        raise LeanError(
            f"optimize: calibration[{place}] is not of the example's kind: as many tensors, of as "
            "many axes, of the same type and device"
        )
    if not all(bool(x.isfinite().all()) for x in sample):
        raise LeanError(f"optimize: calibration[{place}] has values that are infinite or NaN")
    try:
        model(*copies(sample))
    except Exception as error:  # a user's forward may raise anything
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise LeanError(
            f"optimize: {type(model).__name__} does not run on calibration[{place}]: {why[:200]}"
        ) from error
    return sample


@torch.no_grad()
def cost(source: Source, runner: Runner) -> tuple[float, float]:
    """Return what a runner loses on the calibration set, against the network.

    Returns:
        The root mean square of the differences over that of the outputs, and the share of places,
        samples or voxels, in which the largest channel of the first output is the same; NaN where
        it has no channels to choose from.
    """
    missed = whole = same = places = 0.0
    for sample in source.calibration:
        wanted, got = source.outputs(source.model, sample), source.outputs(runner, sample)
        for x, y in zip(wanted, got, strict=True):
            missed += float((x.double() - y.double()).square().sum())
            whole += float(x.double().square().sum())
        first = wanted[0]
        if first.ndim > 1 and first.shape[1] > 1 and first.is_floating_point():
            chosen = first.argmax(1)
            same += float((chosen == got[0].argmax(1)).sum())
            places += chosen.numel()
    return (missed / max(whole, TINY)) ** 0.5, same / places if places else float("nan")
