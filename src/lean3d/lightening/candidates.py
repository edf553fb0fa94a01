"""The forms of every convolution, with what they cost and how far their outputs are off.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.base import Lean
from lean3d.conversion.lean.fit import distance, fit
from lean3d.conversion.lean.parallel import ParallelSeparable
from lean3d.conversion.lean.runs import Run, joins
from lean3d.errors import LeanError
from lean3d.lightening.clock import Place
from lean3d.lightening.cut import Cut, Form, fitted, narrow
from lean3d.lightening.forms import forms, joined_forms, kept_channels
from lean3d.lightening.refit import refit
from lean3d.lightening.seen import Seen
from lean3d.lightening.sites import Chain, Site
from lean3d.lightening.solver import Arc
from lean3d.ops import CausalConv3d

__all__ = [
    "Criterion",
    "Option",
    "Scores",
    "chains_of_arcs",
    "channel_order",
    "damage",
    "places_of",
]

Criterion = Literal["fisher", "taylor", "output", "kernel"]
# a form that costs this much of the dense convolution is none
SAVES = 0.97
# a form is tried on samples if no cheaper one has a kernel so much nearer
SLACK = 1.25
FAMILIES_OF_NARROW = ("time", "groups")
# forms of a convolution that are tried, with all of its channels and with fewer
MOST, MOST_NARROW = 8, 2


@dataclass(frozen=True)
class Option:
    """One way to compute a convolution, or two of a run: an arc of a chain."""

    chain: int
    number: int
    place: Place

    @property
    def start(self) -> tuple[int, int]:
        span = 1 if self.place.first is None else 2
        return (self.number + 1 - span, self.place.shape[1])

    @property
    def end(self) -> tuple[int, int]:
        return (self.number + 1, self.place.cut.outputs or self.place.site.conv.out_channels)


def places_of(chains: Sequence[Chain], cuts: Sequence[str]) -> list[Option]:
    """Return all ways to compute each convolution; the dense one comes first."""
    found = []
    for number, chain in enumerate(chains):
        nodes = list(_nodes(chain, cuts))
        for index, (site, (starts, ends)) in enumerate(
            zip(chain.sites, pairwise(nodes), strict=True)
        ):
            for first, inputs in enumerate(starts):
                for last, outputs in enumerate(ends):
                    # between two places with fewer channels, of about the same share
                    if min(len(starts), len(ends)) > 1 and abs(first - last) > 1:
                        continue
                    found += [
                        Option(number, index, p) for p in _places(site, inputs, outputs, cuts)
                    ]
        if "streams" in cuts:
            found += [Option(number, i + 1, place) for i, place in _joined(chain)]
    return found


def _nodes(chain: Chain, cuts: Sequence[str]) -> Iterator[list[int]]:
    yield [chain.sites[0].conv.in_channels]
    for site, between in zip(chain.sites, chain.between, strict=False):
        channels = site.conv.out_channels
        yield [channels] if between is None else kept_channels(channels, cuts)
    yield [chain.sites[-1].conv.out_channels]


def _places(site: Site, inputs: int, outputs: int, cuts: Sequence[str]) -> Iterator[Place]:
    conv = site.conv
    whole = (inputs, outputs) == (conv.in_channels, conv.out_channels)
    sizes: dict[str, Any] = dict(
        inputs=None if inputs == conv.in_channels else inputs,
        outputs=None if outputs == conv.out_channels else outputs,
    )
    yield Place(site, Cut(site.path, None, **sizes))
    families = cuts if whole else [name for name in cuts if name in FAMILIES_OF_NARROW]
    like = conv
    if not whole:
        like = narrow(conv, range(inputs), range(outputs))
    shape = (site.shape[0], inputs, *site.shape[2:])
    for how in forms(like, shape, families):
        yield Place(site, Cut(site.path, how, **sizes))


def _joined(chain: Chain) -> Iterator[tuple[int, Place]]:
    """Yield runs of two convolutions as one operator, at all of their channels."""
    for index, (first, last) in enumerate(pairwise(chain.sites)):
        if chain.between[index] is None or not joins(first.conv, last.conv):
            continue
        if isinstance(last.conv, CausalConv3d):
            continue
        spans = first.conv.kernel_size[0] > 1 and max(first.conv.kernel_size[1:]) > 1
        if not spans:
            continue
        for how in joined_forms((1, 2, 3), last.conv.out_channels):
            yield index, Place(last, Cut(last.path, how, first=first.path), first)


def channel_order(chain: Chain, seen: Mapping[str, Seen]) -> list[list[int]]:
    """Return the channels at each place between two convolutions, the most important one first.

    A channel's importance is the variance that it gives to the next convolution's outputs, each
    weighted by the mean square of its slope.
    """
    orders = []
    for site in chain.sites[1:]:
        own = seen[site.path]
        slopes = sum((s.square().mean((0, 2, 3, 4)) for s in own.slopes), torch.zeros(()))
        weight = site.conv.weight.detach()
        slopes = slopes.to(weight) if slopes.ndim else weight.new_ones(len(weight))
        if weight.shape[1] != own.given.shape[1]:  # grouped: all are kept
            orders.append(list(range(own.given.shape[1])))
            continue
        spread = own.given.var((0, 2, 3, 4))
        worth = torch.einsum("o,oixyz->i", slopes, weight.square()) * spread
        orders.append(worth.argsort(descending=True).tolist())
    return orders


def front(options: Sequence[Option], cost: Callable[[Option], float | None]) -> list[Option]:
    """Return those worth a try: cheaper than dense, and no cheaper one has a nearer kernel."""
    groups: dict[Any, list[Option]] = {}
    for option in options:
        groups.setdefault((option.chain, option.start, option.end), []).append(option)
    kept: list[Option] = []
    for group in groups.values():
        dense = [o for o in group if o.place.cut.how is None and cost(o) is not None]
        others = [o for o in group if o.place.cut.how is not None and cost(o) is not None]
        joined = [o for o in others if o.place.first is not None]
        alone = [o for o in others if o.place.first is None]
        kept += dense + joined
        if not dense or not alone:
            continue
        most = SAVES * (cost(dense[0]) or 0.0)
        alone = [o for o in alone if (cost(o) or 0.0) < most]
        errors = _kernel_errors(alone)
        best, found = float("inf"), []
        for option in sorted(alone, key=lambda o: cost(o) or 0.0):
            if errors[id(option)] < 1.0 and errors[id(option)] <= SLACK * best:
                found.append(option)
            best = min(best, errors[id(option)])
        whole = group[0].place.cut.inputs is group[0].place.cut.outputs is None
        kept += _spread(found, MOST if whole else MOST_NARROW)
    return kept


def _spread(options: list[Option], most: int) -> list[Option]:
    """Return `most` of them, or all if they are fewer, evenly over their order."""
    if len(options) <= most:
        return options
    return [options[round(i * (len(options) - 1) / (most - 1))] for i in range(most)]


def _kernel_errors(options: Sequence[Option]) -> dict[int, float]:
    """Return the relative errors of the fitted kernels, by the option's identity."""
    found: dict[int, float] = {}
    families: dict[Any, list[Option]] = {}
    for option in options:
        how: Any = option.place.cut.how
        form = (type(how), *(getattr(how, n, None) for n in ("form", "streams", "relu", "mode")))
        families.setdefault(form if isinstance(how, Lean) else how, []).append(option)
    for group in families.values():
        place = group[0].place
        conv = _shaped(place)
        choices: list[Any] = [option.place.cut.how for option in group]
        for option, error in zip(group, _errors(conv, choices), strict=True):
            found[id(option)] = error
    return found


@torch.no_grad()
def _errors(conv: nn.Conv3d, choices: list[Any]) -> list[float]:
    try:
        if not isinstance(choices[0], Lean):
            return [distance(conv.weight, fit(conv, how).kernel) for how in choices]
        kernel = conv.weight.detach().to("cpu", torch.float64).unflatten(0, (conv.groups, -1))
        norm = max(float(kernel.square().sum()), 1e-30)
        return [(e / norm) ** 0.5 for e in choices[0].errors(conv, kernel, choices)]
    except (LeanError, RuntimeError):
        return [float("inf")] * len(choices)


def _shaped(place: Place) -> nn.Conv3d:
    cut, conv = place.cut, place.site.conv
    inputs = None if cut.inputs is None else range(cut.inputs)
    outputs = None if cut.outputs is None else range(cut.outputs)
    return narrow(conv, inputs, outputs)


class Scores:
    """Fits forms, and says how much worse the network gets by their outputs.

    Args:
        orders: Channels between convolutions, by number of the chain.
    """

    def __init__(
        self,
        model: nn.Module,
        chains: Sequence[Chain],
        seen: Mapping[str, Seen],
        criterion: Criterion,
    ):
        self.model, self.chains, self.seen, self.criterion = model, chains, seen, criterion
        self.orders = [channel_order(chain, seen) for chain in chains]

    def kept(self, option: Option) -> tuple[list[int] | None, list[int] | None]:
        """Return the channels that an option reads, and those that it gives; None for all."""
        cut, orders = option.place.cut, self.orders[option.chain]
        inputs = None if cut.inputs is None else sorted(orders[option.number - 1][: cut.inputs])
        outputs = None if cut.outputs is None else sorted(orders[option.number][: cut.outputs])
        return inputs, outputs

    @torch.no_grad()
    def operator(self, option: Option) -> nn.Module:
        """Return the fitted form, its last stage fitted to the outputs on the samples."""
        place = option.place
        seen = self.seen[place.site.path]
        if place.first is not None:
            chain = self.chains[option.chain]
            convs = (place.first.path, place.site.path)
            between = chain.between[option.number - 1] or ()
            run = Run(convs, between, self.seen[place.first.path].given, seen.wanted)
            how = place.cut.how
            assert isinstance(how, ParallelSeparable)
            return how.fit_run(self.model, run)[0]
        inputs, outputs = self.kept(option)
        operator = fitted(narrow(place.site.conv, inputs, outputs), place.cut.how).eval()
        if place.cut.how is not None or inputs is not None:
            refit(operator, place.cut.how, _taken(seen.given, inputs), _taken(seen.wanted, outputs))
        return operator

    @torch.no_grad()
    def error(self, option: Option) -> float:
        """Return how much worse the network gets, by the criterion."""
        cut, place = option.place.cut, option.place
        if cut.how is None and cut.inputs is None:
            return 0.0
        inputs, outputs = self.kept(option)
        if self.criterion == "kernel" and place.first is None:
            return self._kernel_error(place.site.conv, cut.how, inputs, outputs)
        start = place.first or place.site
        seen = self.seen[place.site.path]
        operator = self.operator(option)
        found = operator.eval()(_taken(self.seen[start.path].given, inputs))
        wanted = _taken(seen.wanted, outputs)
        slopes = [_taken(slope, outputs) for slope in seen.slopes]
        return damage(found - wanted, wanted, slopes, self.criterion)

    def _kernel_error(
        self, conv: nn.Conv3d, how: Form | None, inputs: list[int] | None, outputs: list[int] | None
    ) -> float:
        """Return the share of the squared kernel that is lost, with the channels not read."""
        whole = narrow(conv, None, outputs).weight.square().sum()
        own = narrow(conv, inputs, outputs)
        left = own.weight.square().sum()
        lost = 0.0 if how is None else _errors(own, [how])[0] ** 2 * float(left)
        return (float(whole - left) + lost) / max(float(whole), 1e-30)


def damage(missed: Tensor, wanted: Tensor, slopes: Sequence[Tensor], criterion: Criterion) -> float:
    """Return the error of a convolution's output as the network feels it.

    Args:
        criterion: "fisher": the mean square of the first-order change of what the slopes are of,
            all positions taken as independent, which is the diagonal of the Fisher, or
            Gauss-Newton, matrix: of the outputs, a share of their variance; "taylor": the mean
            absolute first-order change of a sample; "output", "kernel" for a run, and where there
            are no slopes: the squared error over the variance.
    """
    if criterion in ("output", "kernel") or not slopes:
        spread = wanted - wanted.mean((0, 2, 3, 4), keepdim=True)
        return float(missed.square().sum() / spread.square().sum().clamp_min(1e-30))
    parts = [missed * slope for slope in slopes]
    if criterion == "taylor":
        return float(sum(part.flatten(1).sum(1).abs().mean() for part in parts) / len(parts))
    return float(sum(part.square().flatten(1).sum(1).mean() for part in parts) / len(parts))


def _taken(x: Tensor, channels: list[int] | None) -> Tensor:
    return x if channels is None else x[:, channels]


def chains_of_arcs(
    options: Sequence[Option],
    errors: Mapping[int, float],
    cost: Callable[[Option], tuple[float, float]],
) -> list[Arc]:
    """Return the arcs of the integer program."""
    arcs = []
    for option in options:
        price, peak = cost(option)
        arcs.append(
            Arc(option.chain, option.start, option.end, errors[id(option)], price, peak, option)
        )
    return arcs


def removed(chain: Chain, number: int) -> list[Cut]:
    """Return the cuts of what an operator for convolutions `number - 1` and `number` computes."""
    between = chain.between[number - 1] or ()
    return [Cut(path, gone=True) for path in (chain.sites[number - 1].path, *between)]


def narrowed(chain: Chain, number: int, channels: int) -> list[Cut]:
    """Return the cuts of the modules after convolution `number`, of which channels are left."""
    return [Cut(path, outputs=channels) for path in chain.between[number] or ()]
