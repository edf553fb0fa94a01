"""Time forms in place: with their input's shape and layout, and what a backend fuses into them."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.surgery.copies import duplicate
from lean3d.cost.latency import finish
from lean3d.lightening.cut import Cut, blank, kept_norm
from lean3d.lightening.sites import Site
from lean3d.lightening.times import Times
from lean3d.ops import CausalConv3d
from lean3d.ops.inflated import InflatedConv3d
from lean3d.ops.memory_layout import channels_last
from lean3d.runtime.source import BACKENDS, Runner, Source, Unavailable
from lean3d.streaming.export import quiet

__all__ = ["Clock", "Place", "in_turns"]

ROUNDS = 9
# backends whose maps between two convolutions are not channels-last
CONTIGUOUS = ("eager", "fused", "onnxruntime", "openvino")
# seconds of one measurement at least: a clock's own error is far below it
LEAST = 2e-3
# share of the seconds for some forms after which no more are prepared
BUILDING = 0.5
# after that many rounds, no further one is begun when all have taken that many seconds
FEWER, LONG = 5, 10.0
# rounds after which a form that is slower than this many times the fastest one is not timed on
EARLY, HOPELESS = 3, 6.0


@dataclass(frozen=True)
class Place:
    """A form at its place: what is timed.

    Args:
        site: The dense convolution, or the last of several that become one operator.
        first: The first of those.
    """

    site: Site
    cut: Cut
    first: Site | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its input."""
        start = self.first or self.site
        return (start.shape[0], self.cut.inputs or start.inputs, *start.shape[2:])

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = self.site.conv.weight.dtype
        return found

    def module(self) -> nn.Module:
        """Return the form and what is fused into it, with random weights."""
        first = None if self.first is None else self.first.conv
        after: list[nn.Module] = []
        for module in self.site.after:
            kept = range(self.cut.outputs) if self.cut.outputs else None
            own = duplicate(module) if kept is None else kept_norm(module, kept)
            after.append(own)
        return nn.Sequential(blank(self.site.conv, self.cut, first), *after)

    @property
    def key(self) -> str:
        """What decides its time, as text."""
        conv = (self.first or self.site).conv
        names = "kernel_size", "stride", "padding", "dilation", "groups"
        sizes = [getattr(conv, name, None) for name in names]
        what = "dense" if self.cut.how is None else repr(self.cut.how)
        what = what if self.site.convolves else type(conv).__name__
        after = "+".join(type(module).__name__ for module in self.site.after)
        ends = self.cut.outputs or self.site.outputs
        mode = getattr(conv, "padding_mode", "")
        bias = "" if conv.bias is None else "bias"
        bias += f" past {conv.past}" if isinstance(conv, CausalConv3d) else ""
        bias += f" pads {conv.pads} {conv.pad}" if isinstance(conv, InflatedConv3d) else ""
        kind = "" if self.dtype == torch.float32 else f" {self.dtype}"
        key = f"{what} {self.shape}->{ends} {sizes} {mode} {bias} {after}".replace("  ", " ")
        return key + kind


@dataclass
class Clock:
    """Times forms by one backend, or looks their times up in a table.

    Args:
        seconds: After which no further form is timed; of one thread, of the processor, so that a
            busy machine times as many.
        short: Whether there was no time for a form.
    """

    backend: str
    precision: str
    device: torch.device
    times: Times
    seconds: float
    started: float = field(default_factory=lambda: _now())
    short: bool = False

    @property
    def left(self) -> float:
        """Seconds for timing that are left."""
        return self.started + self.seconds - _now()

    def runner(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> Runner:
        """Return the backend's callable of a network."""
        own = duplicate(module).eval().requires_grad_(False)
        with torch.no_grad(), quiet():
            return BACKENDS[self.backend].make(Source(own, arguments, self.precision))

    def part(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> Runner:
        """Return the callable of a part of a network."""
        return self.runner(module, arguments)

    @torch.no_grad()
    def shares(
        self, whole: Runner, arguments: tuple[Tensor, ...], dense: Mapping[str, Place]
    ) -> tuple[float, dict[str, float]]:
        """Return the seconds of the whole network, and those of each dense convolution in it.

        All are timed in turns; the latter are medians of ratios within a round.
        """
        kinds = {place.key: place for place in dense.values()}
        calls: dict[str, Any] = {"": (whole, arguments)}
        for key, place in kinds.items():
            calls[key] = self._call(place)
        seconds = in_turns(calls, ROUNDS)
        total = statistics.median(seconds[""])
        own = {
            key: total * statistics.median(a / b for a, b in zip(times, seconds[""], strict=True))
            for key, times in seconds.items()
        }
        return total, {path: own[place.key] for path, place in dense.items()}

    @torch.no_grad()
    def ratios(self, dense: Place, forms: Sequence[Place], share: float = 1.0) -> dict[str, float]:
        """Return times over that of the dense convolution, by key; without those not timed.

        Args:
            share: Of the seconds that are left, for these forms; the first ones are timed first.
        """
        least = self.left * (1 - share * BUILDING)
        keys = {place.key: place for place in forms}
        found = {key: ratio for key in keys if (ratio := self.times.get(f"{key} | {dense.key}"))}
        calls: dict[str, Any] = {}
        for key, place in keys.items():
            if key in found or key == dense.key:
                continue
            if self.left < least:
                self.short = True
                continue
            if (call := self._call(place)) is not None:
                calls[key] = call
        if calls:
            base = self._call(dense)
            measured = in_turns({"": base, **calls}, ROUNDS, drop=True)
            for key in calls:
                pairs = zip(measured[key], measured[""], strict=False)
                found[key] = statistics.median(a / b for a, b in pairs)
                self.times.put(f"{key} | {dense.key}", found[key])
        found[dense.key] = 1.0
        return found

    def _call(self, place: Place) -> Any:
        x = torch.randn(place.shape, dtype=place.dtype, device=self.device)
        x = x if self.backend in CONTIGUOUS else channels_last(x)
        module = place.module().to(self.device)
        try:
            runner = self.part(module, (x,))
            runner(x)
        except Unavailable:
            if place.site.convolves:
                return None
            # a backend may take no network without convolutions
            runner = duplicate(module).eval().requires_grad_(False)
        except Exception:  # a compiler may raise anything; this form is not one to choose
            if place.cut.how is None:
                raise
            return None
        return runner, (x,)


def _now() -> float:
    alone = torch.get_num_threads() == 1
    return time.process_time() if alone else time.monotonic()


def in_turns(
    calls: Mapping[str, tuple[Runner, tuple[Tensor, ...]]], rounds: int, *, drop: bool = False
) -> dict[str, list[float]]:
    """Return seconds of each call in each round, of which the first is not counted.

    Args:
        drop: Stop timing those that are far slower than the fastest.
    """
    # of one thread, the time of the processor: other programs on a busy machine do not count
    given = [x for _, arguments in calls.values() for x in arguments]
    alone = torch.get_num_threads() == 1 and not any(x.is_cuda for x in given)
    now = time.process_time if alone else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    repeats = dict.fromkeys(calls, 1)
    left = dict(calls)
    began = time.monotonic()
    for turn in range(rounds + 1):
        if turn > FEWER and time.monotonic() - began > LONG:
            break
        for name, (runner, arguments) in left.items():
            start = now()
            for _ in range(repeats[name]):
                runner(*arguments)
            finish()
            passed = (now() - start) / repeats[name]
            if turn:
                times[name].append(passed)
            else:
                repeats[name] = max(1, round(LEAST / max(passed, 1e-6)))
        if drop and turn == EARLY:
            best = min(min(own) for own in times.values())
            left = {n: c for n, c in left.items() if n == "" or min(times[n]) < HOPELESS * best}
    return times
