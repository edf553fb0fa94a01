"""`optimize`: measure the backends on a network, and return the fastest that gives its output."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.tree import copies
from lean3d.errors import LeanError
from lean3d.runtime.calibration import check_calibration
from lean3d.runtime.choices import Choices
from lean3d.runtime.optimized import Optimized, described
from lean3d.runtime.search import Rules, apart, search
from lean3d.runtime.source import BACKENDS, PRECISIONS, Source
from lean3d.runtime.step import OptimizedStream, optimize_step
from lean3d.streaming import Stream
from lean3d.typed import check_kind, fits, shortened

__all__ = ["TOLERANCES", "optimize"]

# largest difference to the model's output, over its largest value
TOLERANCES = {"float32": 1e-4, "bfloat16": 5e-2, "int8": 1e-1}


@torch.no_grad()
def optimize(
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    *,
    precision: str = "float32",
    backends: Sequence[str] | None = None,
    budget_s: float = 60.0,
    tolerance: float | None = None,
    choices: str | Path | None = None,
    calibration: Sequence[Tensor | tuple[Tensor, ...]] | None = None,
) -> Optimized | OptimizedStream:
    """Return the fastest equal module for this machine, found by measuring.

    Every backend is compared with the model's output on the example, then all are timed in turns.

    Args:
        model: Any network, or what `lean3d.stream` returns; it is not changed.
        example: An input, or a tuple of its arguments, of the size to be fast for. Other sizes run
            too, by the model itself where the backend was made for the example's alone. For a
            stream, a frame (B, C, H, W) of every stream.
        precision: What convolutions are computed in: "float32", "bfloat16" or "int8", the last on a
            CPU by OpenVINO with NNCF or by onnxruntime.
        backends: Names of `lean3d.runtime.BACKENDS`, of which the fastest is taken, or "eager"
            if none runs; by default all that are installed.
        budget_s: Seconds after which no further backend is built; "eager" always is.
        tolerance: Largest difference allowed, relative to the output's largest value.
        choices: A JSON file, made if it is missing. If it holds the choice for such a network,
            input and machine, only that backend is built and compared, and nothing is timed;
            otherwise the choice is added.
        calibration: For int8, inputs such as the network meets in use, some tens of them, each like
            `example`: the ranges of its activations are read from them, and the table gives what
            int8 costs on them. For a stream, clips (B, C, T, H, W) of the example's frame size.

    Returns:
        A module in eval mode for inference, or a stream that takes and returns the states of the
        one given. `print(result.report())` shows the candidates.

    Raises:
        LeanError: an argument is wrong, the model does not run on the example, or nothing that is
            installed computes in int8.
    """
    arguments = example if isinstance(example, tuple) else (example,)
    check_kind("optimize", model, nn.Module, "an nn.Module")
    check_kind("optimize", tolerance, float | None, "a tolerance above 0")
    check_kind("optimize", choices, str | Path | None, "the path of a file of choices")
    names = _check(arguments, precision, backends, budget_s)
    allowed = TOLERANCES[precision] if tolerance is None else tolerance
    rules = Rules(backends, allowed, budget_s)
    if isinstance(model, Stream):
        return optimize_step(
            model, copies(arguments), precision, names, rules, choices, calibration
        )
    if isinstance(model, torch.jit.ScriptModule) or any(x.is_meta for x in model.parameters()):
        raise LeanError(
            f"optimize takes a network with weights, before torch.jit compiles it, got "
            f"{type(model).__name__}"
        )
    copy = duplicate(model).eval().requires_grad_(False)
    # a forward may write into its input
    expected = _reference(copy, copies(arguments))
    samples = check_calibration(copy, arguments, calibration, precision)
    source = Source(copy, copies(arguments), precision, samples)
    if choices is not None:
        rules = replace(rules, kept=Choices(Path(choices), copy, arguments, precision))
    error = lambda runner: apart(tensors(runner(*copies(arguments))), expected)  # noqa: E731
    found = search(source, names, rules, error, lambda runner: partial(runner, *source.arguments))
    inputs = [described(x) for x in arguments]
    return Optimized(copy, found.runner, found.backend, found.table, precision, inputs)


def _check(
    arguments: tuple[Tensor, ...], precision: str, backends: Sequence[str] | None, budget_s: float
) -> list[str]:
    if not arguments or not all(isinstance(x, Tensor) for x in arguments):
        raise LeanError("optimize: example is a tensor or a tuple of tensors")
    if not fits(precision, str) or precision not in PRECISIONS:
        raise LeanError(f"optimize: precision is {' or '.join(PRECISIONS)}, got {precision!r}")
    if backends is not None:
        listed = isinstance(backends, (list, tuple)) and all(isinstance(b, str) for b in backends)
        if not listed:
            raise LeanError(f"optimize: backends is a list of names, got {shortened(backends)}")
        if not backends:
            raise LeanError("optimize: backends names none; leave it out to measure all")
    if not fits(budget_s, float) or not budget_s > 0:
        raise LeanError(f"optimize: budget_s is seconds above 0, got {budget_s!r}")
    parts = {name: BACKENDS.find(name) for name in (BACKENDS if backends is None else backends)}
    fitting = [name for name, part in parts.items() if precision in part.precisions]
    others = [name for name in fitting if name != "eager"]
    return ["eager", *sorted(others, key=lambda name: parts[name].compiles)]


def _reference(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[Tensor]:
    try:
        found = tensors(model(*arguments))
    except Exception as error:  # a user's forward may raise anything
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise LeanError(
            f"optimize: {type(model).__name__} does not run on the example: {why}"
        ) from error
    if not found:
        raise LeanError(f"optimize: {type(model).__name__} gives no tensor on the example")
    return [y.clone() for y in found]
