"""What forms cost: measured time, or counted multiply-adds, parameters or bytes.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

from torch import Tensor, nn

from lean3d.cost import count
from lean3d.lightening.candidates import Option
from lean3d.lightening.clock import Clock, Place, in_turns
from lean3d.lightening.cut import Cut
from lean3d.lightening.sites import Site

__all__ = ["ByCount", "ByTime", "Price"]

# a network's convolutions, timed alone, are at most this share of its own time
MOST = 0.97
ROUNDS = 11


class Price(ABC):
    """What each form costs, and what the rest of the network does.

    Attributes:
        before: What the given network costs.
        fixed: What is left of it without its convolutions.
        noise: How far above a limit a cost may be measured, as a share, and how far at the worst.
        adds_up: Whether costs of forms add up to that of the network. Of memory they do not: maps
            that wait for a skip are alive beside those of other operations.
    """

    before: float
    fixed: float
    noise: tuple[float, float] = (0.0, 0.0)
    adds_up: bool = True

    @property
    def short(self) -> bool:
        """Whether there was no time to measure some forms."""
        return False

    @abstractmethod
    def of(self, option: Option) -> tuple[float, float] | None:
        """Return the cost of a form and its peak of memory; None if it is not known."""

    @abstractmethod
    def measure(self, result: nn.Module) -> float:
        """Return what a whole network costs."""

    @abstractmethod
    def learn(self, chosen: Sequence[Option], measured: float) -> None:
        """Correct the prediction by a network that was measured whole."""

    def cost(self, option: Option) -> float | None:
        found = self.of(option)
        return None if found is None else found[0]

    def predict(self, chosen: Sequence[Option]) -> float:
        """Return what a network of these forms costs."""
        found = [self.of(option) or (0.0, 0.0) for option in chosen]
        return self.fixed + sum(cost for cost, _ in found) + max(peak for _, peak in found)


class ByTime(Price):
    """Seconds by a backend. Savings of forms, timed alone, add up to a share of the whole's saving.

    That share is 1 until a whole network of such forms was timed.
    """

    noise = (0.02, 0.1)

    def __init__(
        self,
        clock: Clock,
        model: nn.Module,
        arguments: tuple[Tensor, ...],
        sites: Sequence[Site],
        options: Sequence[Option],
    ):
        self.clock, self.arguments = clock, arguments
        self.whole = clock.runner(model, arguments)
        places = {site.path: Place(site, Cut(site.path)) for site in sites}
        self.before, self.dense = clock.shares(self.whole, arguments, places)
        total = sum(self.dense.values())
        self.share = min(1.0, MOST * self.before / max(total, 1e-12))
        self.ratios: dict[str, dict[str, float]] = {}
        keys = [place.key for place in places.values()]
        for number, dense in enumerate(places.values()):
            forms = [o.place for o in options if o.place.site.path == dense.site.path]
            # should the time not be enough: all numbers of channels, and of each family some
            forms.sort(key=lambda form: (form.cut.how is not None, crc32(form.key.encode())))
            # those of equal layers are known from the first
            share = 1 / len(set(keys[number:]))
            self.ratios[dense.site.path] = clock.ratios(dense, forms, share)
        clock.times.save()

    @property
    def fixed(self) -> float:  # type: ignore[override]
        return self.before - self.share * sum(self.dense.values())

    @property
    def short(self) -> bool:
        return self.clock.short

    def of(self, option: Option) -> tuple[float, float] | None:
        path = option.place.site.path
        ratio = self.ratios[path].get(option.place.key)
        return None if ratio is None else (self.share * ratio * self.dense[path], 0.0)

    def measure(self, result: nn.Module) -> float:
        """Return its seconds, at the speed that the machine had when the given one was timed."""
        calls: Mapping[str, Any] = {
            "before": (self.whole, self.arguments),
            "after": (self.clock.runner(result, self.arguments), self.arguments),
        }
        times = in_turns(calls, ROUNDS)
        pairs = zip(times["after"], times["before"], strict=True)
        return self.before * statistics.median(after / before for after, before in pairs)

    def learn(self, chosen: Sequence[Option], measured: float) -> None:
        saved = self.before - self.predict(chosen)
        if saved > 0:
            # one noisy measurement must not turn the prediction around
            self.share *= min(max((self.before - measured) / saved, 0.5), 1.5)


class ByCount(Price):
    """Multiply-adds, parameters, or bytes of parameters and of the largest peak of activations."""

    def __init__(self, kind: str, model: nn.Module, shapes: Any, sites: Iterable[Site]):
        self.kind, self.shapes, self.adds_up = kind, shapes, kind != "memory"
        self.known: dict[str, tuple[float, float]] = {}
        self.before = self.measure(model)
        dense = [self._of(Place(site, Cut(site.path))) for site in sites]
        self.fixed = self.before - sum(c for c, _ in dense) - max(p for _, p in dense)

    def of(self, option: Option) -> tuple[float, float] | None:
        return self._of(option.place)

    def _of(self, place: Place) -> tuple[float, float]:
        if place.key not in self.known:
            found = count(place.module(), place.shape)
            peak = found.peak_activation_bytes if self.kind == "memory" else 0
            self.known[place.key] = float(self._counted(found)), float(peak)
        return self.known[place.key]

    def _counted(self, cost: Any) -> int:
        return cost.model_bytes if self.kind == "memory" else getattr(cost, self.kind)

    def measure(self, result: nn.Module) -> float:
        cost = count(result, self.shapes)
        peak = cost.peak_activation_bytes if self.kind == "memory" else 0
        return float(self._counted(cost) + peak)

    def learn(self, chosen: Sequence[Option], measured: float) -> None:
        self.fixed += measured - self.predict(chosen)
