"""Search the backends for the fastest that gives a network's outputs."""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from lean3d.conversion.tolerance import largest
from lean3d.cost.latency import interleaved, peak_mib
from lean3d.errors import LeanError
from lean3d.runtime.calibration import cost
from lean3d.runtime.choices import Choices
from lean3d.runtime.optimized import Candidate
from lean3d.runtime.source import BACKENDS, Runner, Source, Unavailable
from lean3d.streaming.export import quiet

__all__ = ["Found", "Refused", "Rules", "apart", "search"]

# rounds, and untimed calls before each timed one
ROUNDS, SETTLE = 9, 2
# of terminals, in the errors of some exporters
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# a backend that takes as many times the fastest one's time is timed no further
SLOWEST = 2.0
# share of the budget that building backends may take
BUILD = 0.7


class Refused(Exception):  # noqa: N818
    """A backend gives other outputs; the message says which."""


@dataclass(frozen=True)
class Rules:
    """What a search may do.

    Args:
        backends: Those that the user named, of which the fastest is taken; None for all.
        allowed: Largest difference to the network's outputs, relative to their largest value.
        budget_s: Seconds after which no further backend is built.
        kept: Choices of earlier searches.
    """

    backends: Sequence[str] | None
    allowed: float
    budget_s: float
    kept: Choices | None = None


@dataclass(frozen=True)
class Found:
    """The fastest backend, and what was measured of all."""

    backend: str
    runner: Runner
    table: tuple[Candidate, ...]


def search(
    source: Source,
    names: Sequence[str],
    rules: Rules,
    error: Callable[[Runner], float],
    call: Callable[[Runner], Callable[[], object]],
) -> Found:
    """Build the named backends in order, "eager" first, compare them, and time them in turns.

    Args:
        error: How far the outputs of a runner are from the network's; it may raise `Refused`.
        call: What is timed of a runner.

    Raises:
        LeanError: nothing that is installed computes in int8.
    """
    start, kept = time.monotonic(), rules.kept
    rows: dict[str, Candidate] = {}
    runners: dict[str, Runner] = {}
    absent: dict[str, str] = {}
    known = None if kept is None else kept.known
    # what was chosen comes first, and ends the search if it still runs
    for name in sorted(names, key=lambda name: name not in ("eager", known)):
        if known in runners and name != "eager":
            break
        if name != "eager" and time.monotonic() - start > BUILD * rules.budget_s:
            note = f"not built: the budget of {rules.budget_s:g} s was spent"
            rows[name] = Candidate(name, note=note)
            continue
        try:
            rows[name], runner = _candidate(name, source, error, rules.allowed)
        except Unavailable as reason:
            rows[name], runner = Candidate(name, note=str(reason)), None
            absent[name] = str(reason)
        if runner is not None:
            runners[name] = runner
    if source.precision == "int8" and absent.keys() >= rows.keys() - {"eager"}:
        raise _no_int8(absent)
    if known is not None and known in runners:
        return Found(known, runners[known], tuple(rows.values()))
    left = max(rules.budget_s - (time.monotonic() - start), (1 - BUILD) * rules.budget_s)
    calls = {name: call(runner) for name, runner in runners.items()}
    times = interleaved(calls, ROUNDS, seconds=left, slowest=SLOWEST, settle=SETTLE)
    for name, seconds in times.items():
        peak = peak_mib(calls[name], source.arguments[0].device)
        rows[name] = rows[name].timed(seconds, peak)
    named = times.keys() & set(rules.backends or ()) or times.keys()
    fastest = min(named, key=lambda name: rows[name].ms)
    if kept is not None:
        kept.keep(fastest)
    return Found(fastest, runners[fastest], tuple(rows.values()))


def apart(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest difference of the outputs, relative to their largest value."""
    if len(found) != len(expected):
        return math.inf
    return max(largest(wanted, got) for got, wanted in zip(found, expected, strict=True))


def _candidate(
    name: str, source: Source, error: Callable[[Runner], float], allowed: float
) -> tuple[Candidate, Runner | None]:
    try:
        with quiet():
            runner = BACKENDS[name].make(source)
        found = error(runner)
    except Unavailable:
        raise
    except Refused as reason:
        return Candidate(name, note=f"refused: {reason}"), None
    except Exception as failure:  # a compiler may raise anything
        why = COLOURS.sub("", f"{type(failure).__name__}: {failure}").strip().splitlines()[0]
        return Candidate(name, note=f"failed: {why[:120]}"), None
    row = Candidate(name, error=found)
    if found == math.inf:
        return row.noted("refused: outputs of another size, or not finite"), None
    if not found <= allowed:
        return row.noted(f"refused: differs by {found:.1e}, {allowed:.0e} is allowed"), None
    if source.calibration and name != "eager":
        rms, same = cost(source, runner)
        row = replace(row, rms=rms, same=same)
    return row, runner


def _no_int8(absent: dict[str, str]) -> LeanError:
    why = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
    return LeanError(
        "optimize: nothing computes in int8 here, which OpenVINO with NNCF or onnxruntime do on a "
        f"CPU ({why or 'no such backend is named'}); run: pip install 'lean3d[runtimes]'"
    )
