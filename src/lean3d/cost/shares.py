"""The distribution of a forward pass's time over its layers, next to that of its multiply-adds.

A layer with few multiply-adds for each byte it moves is limited by memory: its time exceeds what
its MACs suggest. That is why saving FLOPs does not always save time.
"""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lean3d.cost.counter import count
from lean3d.cost.latency import finish
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Share", "explain", "kinds", "layer_shares"]


@dataclass(frozen=True)
class Share:
    """The time and work of one layer, or of all layers of a kind, without their children.

    Args:
        name: Path of the layer, or its kind.
        ms: Median over the rounds, on its own.
    """

    name: str
    kind: str
    ms: float
    macs: int
    moved_bytes: int

    @property
    def macs_per_byte(self) -> float:
        """Arithmetic intensity, as if every call read and wrote memory."""
        return self.macs / self.moved_bytes if self.moved_bytes else 0.0


def layer_shares(model: nn.Module, x: Tensor, *, rounds: int = 5) -> list[Share]:
    """Each module of `model` with its own time in a forward pass in inference, slowest first."""
    modules = dict(model.eval().named_modules())
    times = _own_times(model, x, rounds)
    layers = count(model, tuple(x.shape)).layers
    shares = [
        Share(row.path, _kind(modules[row.path]), 1e3 * times[row.path], row.macs, row.moved_bytes)
        for row in layers
        if row.path in times
    ]
    return sorted(shares, key=lambda share: -share.ms)


def kinds(shares: Iterable[Share]) -> list[Share]:
    """Layers of one kind summed, slowest first."""
    groups: dict[str, list[Share]] = {}
    for share in shares:
        groups.setdefault(share.kind, []).append(share)
    sums = [
        Share(
            f"{len(group)} x {kind}",
            kind,
            sum(share.ms for share in group),
            sum(share.macs for share in group),
            sum(share.moved_bytes for share in group),
        )
        for kind, group in groups.items()
    ]
    return sorted(sums, key=lambda share: -share.ms)


def _kind(module: nn.Module) -> str:
    """Return a name such as "Conv3d 3x3x3 depthwise"; a container's own work is named "in" it."""
    name = type(module).__name__
    kernel = getattr(module, "kernel_size", ())
    groups = getattr(module, "groups", 1)
    if next(module.children(), None) is not None:
        return f"calls in {name}"
    words = [name, "x".join(map(str, kernel)) if isinstance(kernel, tuple) else str(kernel)]
    if groups > 1:
        words.append("depthwise" if groups == module.in_channels else f"{groups} groups")
    return " ".join(filter(None, words))


def _own_times(model: nn.Module, x: Tensor, rounds: int) -> dict[str, float]:
    """Return seconds of each module without its children; medians, after one warm-up round."""
    seen: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        clock = _Clock(model)
        with torch.no_grad():
            clock.see(lambda: model(x))
        for path, seconds in clock.spent.items():
            if turn:
                seen.setdefault(path, []).append(seconds)
    return {path: statistics.median(times) for path, times in seen.items()}


class _Clock(Watch):
    """Notes the time between a module's start and end, without that of its children."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.last, self.spent = 0.0, dict[str, float]()

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        self._charge(self.stack[-1:])

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        self._charge([path])

    def _charge(self, running: list[str]) -> None:
        finish()
        now = time.perf_counter()
        for path in running:
            self.spent[path] = self.spent.get(path, 0.0) + now - self.last
        self.last = time.perf_counter()


def explain(name: str, shares: list[Share], other: str, others: list[Share], ratio: float) -> str:
    """Explain why `name` takes `ratio` of the time of `other`: layers of fewer MACs per second."""
    mine, theirs = _whole(shares), _whole(others)
    saved = mine.macs / max(theirs.macs, 1)
    said = f"{name} does {saved:.2f} of the MACs of {other} in {ratio:.2f} of its time"
    if ratio <= 1.1 * saved:
        return f"{said}: time follows the MACs."
    rate = theirs.macs / theirs.ms
    less = mine.macs_per_byte < theirs.macs_per_byte
    why = "memory sets more of its time" if less else "its kernels reach less of the machine"
    return (
        f"{said}. Beyond what its MACs would take at {other}'s {rate / 1e6:,.1f} GMACs/s, time "
        f"goes to {_slow(shares, rate, mine.ms)}. As a whole it does {mine.macs_per_byte:.1f} MACs "
        f"for each byte it moves, {other} {theirs.macs_per_byte:.1f}: {why}."
    )


def _slow(shares: list[Share], rate: float, ms: float) -> str:
    """Return the three kinds with the most time beyond that of their MACs at `rate` MACs per ms."""
    lost = {kind: (kind.ms - kind.macs / max(rate, 1)) / ms for kind in kinds(shares)}
    most = sorted(lost, key=lambda kind: -lost[kind])[:3]
    parts = [
        f"{kind.kind} ({lost[kind]:.0%} of its time, {kind.macs_per_byte:.1f} MACs per byte)"
        for kind in most
    ]
    return ", ".join(parts)


def _whole(shares: list[Share]) -> Share:
    (whole,) = kinds([replace(share, kind="all") for share in shares])
    return whole
