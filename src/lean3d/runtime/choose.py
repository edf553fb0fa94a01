"""`optimize`: measure the backends on a network, and return the fastest that gives its output."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.tolerance import largest
from lean3d.conversion.trace.compare import tensors
from lean3d.cost.latency import interleaved, peak_mib
from lean3d.errors import LeanError
from lean3d.runtime.calibration import check_calibration, cost
from lean3d.runtime.choices import Choices
from lean3d.runtime.optimized import Candidate, Optimized
from lean3d.runtime.source import BACKENDS, PRECISIONS, Runner, Source, Unavailable
from lean3d.runtime.step import OptimizedStream, optimize_step
from lean3d.streaming import Stream
from lean3d.streaming.export import quiet
from lean3d.typed import check_kind, fits, shortened

__all__ = ["TOLERANCES", "optimize"]

# largest difference to the model's output, over its largest value
TOLERANCES = {"float32": 1e-4, "bfloat16": 5e-2, "int8": 1e-1}
ROUNDS = 15
# a backend that takes as many times the fastest one's time is timed no further
SLOWEST = 2.0
# share of the budget that building backends may take
BUILD = 0.7


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
            int8 costs on them.

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
    if isinstance(model, Stream):
        if choices is not None or calibration is not None:
            name = "choices" if choices is not None else "calibration"
            raise LeanError(f"optimize: {name}= is for a network, not for a stream")
        return _of_stream(model, arguments, precision, backends, budget_s, tolerance)
    names = _check(arguments, precision, backends, budget_s)
    if isinstance(model, torch.jit.ScriptModule) or any(x.is_meta for x in model.parameters()):
        raise LeanError(
            f"optimize takes a network with weights, before torch.jit compiles it, got "
            f"{type(model).__name__}"
        )
    copy = duplicate(model).eval().requires_grad_(False)
    expected = _reference(copy, arguments)
    samples = check_calibration(copy, arguments, calibration, precision)
    source = Source(copy, arguments, precision, samples)
    allowed = TOLERANCES[precision] if tolerance is None else tolerance
    inputs = [_described(x) for x in arguments]
    start = time.monotonic()
    rows: dict[str, Candidate] = {}
    runners: dict[str, Runner] = {}
    absent: dict[str, str] = {}
    kept = None if choices is None else Choices(Path(choices), copy, arguments, precision)
    known = None if kept is None else kept.known
    # what was chosen comes first, and ends the search if it still runs
    for name in sorted(names, key=lambda name: name not in ("eager", known)):
        if known in runners and name != "eager":
            break
        if name != "eager" and time.monotonic() - start > BUILD * budget_s:
            rows[name] = Candidate(name, note=f"not built: the budget of {budget_s:g} s was spent")
            continue
        try:
            rows[name], runner = _candidate(name, source, expected, allowed)
        except Unavailable as reason:
            rows[name], runner = Candidate(name, note=str(reason)), None
            absent[name] = str(reason)
        if runner is not None:
            runners[name] = runner
    if precision == "int8" and absent.keys() >= rows.keys() - {"eager"}:
        raise _no_int8(absent)
    if known is not None and known in runners:
        return Optimized(copy, runners[known], known, tuple(rows.values()), precision, inputs)
    left = max(budget_s - (time.monotonic() - start), (1 - BUILD) * budget_s)
    calls = {name: partial(runner, *arguments) for name, runner in runners.items()}
    times = interleaved(calls, ROUNDS, seconds=left, slowest=SLOWEST)
    for name, seconds in times.items():
        peak = peak_mib(calls[name], arguments[0].device)
        rows[name] = rows[name].timed(seconds, peak)
    named = times.keys() & set(backends or ()) or times.keys()
    fastest = min(named, key=lambda name: rows[name].ms)
    if kept is not None:
        kept.keep(fastest)
    return Optimized(copy, runners[fastest], fastest, tuple(rows.values()), precision, inputs)


def _of_stream(
    live: Stream,
    arguments: tuple[Tensor, ...],
    precision: str,
    backends: Sequence[str] | None,
    budget_s: float,
    tolerance: float | None,
) -> OptimizedStream:
    _check(arguments, precision, backends, budget_s)
    if len(arguments) != 1 or precision != "float32":
        raise LeanError(
            "optimize: a stream takes one frame (B, C, H, W) as the example, and float32"
        )
    allowed = TOLERANCES[precision] if tolerance is None else tolerance
    rest = dict(backends=backends, budget_s=budget_s, tolerance=allowed)
    return optimize_step(live, arguments[0], **rest)  # type: ignore[arg-type]


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


def _described(x: Tensor) -> dict[str, Any]:
    dtype = str(x.dtype).removeprefix("torch.")
    return {"shape": list(x.shape), "dtype": dtype, "device": str(x.device)}


def _no_int8(absent: dict[str, str]) -> LeanError:
    why = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
    return LeanError(
        "optimize: nothing computes in int8 here, which OpenVINO with NNCF or onnxruntime do on a "
        f"CPU ({why or 'no such backend is named'}); run: pip install 'lean3d[runtimes]'"
    )


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


def _candidate(
    name: str, source: Source, expected: list[Tensor], allowed: float
) -> tuple[Candidate, Runner | None]:
    try:
        with quiet():
            runner = BACKENDS[name].make(source)
        apart = _error(tensors(runner(*source.arguments)), expected)
    except Unavailable:
        raise
    except Exception as error:  # a compiler may raise anything
        why = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return Candidate(name, note=f"failed: {why[:120]}"), None
    row = Candidate(name, error=apart)
    if not apart <= allowed:
        return row.noted(f"refused: differs by {apart:.1e}, {allowed:.0e} is allowed"), None
    if source.calibration and name != "eager":
        rms, same = cost(source, runner)
        row = replace(row, rms=rms, same=same)
    return row, runner


def _error(found: list[Tensor], expected: list[Tensor]) -> float:
    if len(found) != len(expected):
        return math.inf
    return max(largest(wanted, got) for got, wanted in zip(found, expected, strict=True))
