"""Time several models: warmed up, interleaved, medians over rounds.

A slow or shared machine slows all models alike, so ratios within a round are stable where times
are not.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from lean3d.cost.peak import PeakMemory
from lean3d.errors import LeanError

__all__ = ["Timing", "bench", "finish", "interleaved", "peak_mib", "ratios", "training_step"]

Work = Literal["forward", "training step"]
Calls = Mapping[str, Callable[[], object]]
FEW = 3  # rounds


@dataclass(frozen=True)
class Timing:
    """The time of one kind of pass of one model.

    Args:
        ms: Median over the rounds.
        ratio: Median over the rounds of its time over that of the last model in the same round.
        samples_per_s: By the median.
        peak_mib: Peak memory above the model and its input.
    """

    model: str
    work: Work
    ms: float
    ratio: float
    samples_per_s: float
    peak_mib: float


def bench(models: Mapping[str, nn.Module], x: Tensor, *, rounds: int = 9) -> list[Timing]:
    """Time the inference forward pass, then the training step, of each model on the same input.

    The models are left in training mode, with the running statistics of that input.

    Raises:
        LeanError: a model cannot train on this input, or there is not enough memory.
    """
    if rounds < 1:
        raise LeanError(f"bench needs one round or more, got {rounds}")
    # a forward may write into its input
    forward = {name: partial(_quietly, model.eval(), x.clone()) for name, model in models.items()}
    timings = list(_timings("forward", forward, x, rounds))
    steps = {name: training_step(model.train(), x.clone()) for name, model in models.items()}
    return timings + list(_timings("training step", steps, x, rounds))


def interleaved(
    calls: Calls,
    rounds: int,
    *,
    seconds: float = math.inf,
    slowest: float = math.inf,
    settle: int = 0,
) -> dict[str, list[float]]:
    """Return seconds of each call in each round, after one warm-up call of each.

    Args:
        seconds: After them no further round begins, but three are timed at least.
        slowest: A call of more times the fastest one's time is left out after three rounds.
        settle: Untimed calls before each timed one. Runtimes need them: threads of the one before
            still wait for work on all cores, which makes the next one's first call slower.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.monotonic() + seconds
    for turn in range(rounds + 1):
        for name, call in calls.items():
            for _ in range(settle if turn else 0):
                call()
            finish()
            start = time.perf_counter()
            call()
            finish()
            if turn:
                times[name].append(time.perf_counter() - start)
        if turn >= FEW and time.monotonic() > end:
            break
        if turn == FEW and slowest < math.inf:
            limit = slowest * min(min(own) for own in times.values())
            calls = {name: call for name, call in calls.items() if min(times[name]) < limit}
    return times


def ratios(times: Mapping[str, Sequence[float]], base: str) -> dict[str, float]:
    """Return the median over rounds of each call's time over that of `base` in the same round."""
    return {
        name: statistics.median(s / b for s, b in zip(own, times[base], strict=True))
        for name, own in times.items()
    }


def training_step(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """Run forward and backward; drop the gradients, including that of `x` if it requires one."""

    def step() -> None:
        sums = [y.sum() for y in tree_iter(model(x)) if isinstance(y, Tensor) and y.requires_grad]
        torch.autograd.backward(sums)
        model.zero_grad(set_to_none=True)
        x.grad = None

    return step


def finish() -> None:
    """Synchronise with a GPU, whose calls return before they are done."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _timings(work: Work, calls: Calls, x: Tensor, rounds: int) -> Iterator[Timing]:
    with _explained(work):
        times = interleaved(calls, rounds)
        relative = ratios(times, list(calls)[-1])
        for name, own in times.items():
            median = statistics.median(own)
            peak = peak_mib(calls[name], x.device)
            yield Timing(name, work, 1e3 * median, relative[name], len(x) / median, peak)


def peak_mib(call: Callable[[], object], device: torch.device) -> float:
    """Return the peak memory of a call, above what is held before it."""
    memory = PeakMemory(device)
    call()
    return memory.mib()


@contextmanager
def _explained(work: Work) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise LeanError(f"bench cannot do a {work} on this input: {why}") from error


@torch.no_grad()
def _quietly(model: nn.Module, x: Tensor) -> object:
    return model(x)
