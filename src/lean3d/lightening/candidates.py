"""The forms of every convolution, with what they cost and how far their outputs are off.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.base import Lean
from lean3d.conversion.lean.fit import distance, fit
from lean3d.conversion.lean.parallel import ParallelSeparable
from lean3d.conversion.lean.runs import Run
from lean3d.cost import count
from lean3d.errors import LeanError
from lean3d.lightening.channels import Layout, places_in
from lean3d.lightening.clock import Place
from lean3d.lightening.cut import Cut, Form, fitted, narrow, sized
from lean3d.lightening.forms import FAMILIES, KEPT, forms, joined_forms, kept_channels, macs
from lean3d.lightening.refit import refit
from lean3d.lightening.seen import Seen
from lean3d.lightening.sites import Places, Site
from lean3d.lightening.solver import Arc

__all__ = [
    "Criterion",
    "Levels",
    "Option",
    "Scores",
    "arcs_of",
    "arithmetic",
    "between_of",
    "channel_order",
    "damage",
    "front",
    "options_of",
]

Criterion = Literal["fisher", "taylor", "output", "kernel"]
# a form that costs this much of the dense convolution is none
SAVES = 0.97
# a form is tried on samples if no cheaper one has a kernel so much nearer
SLACK = 1.25
# families that are tried of fewer channels
NARROW = {"time", "groups"}
# forms of a family that are tried of a convolution, with all of its channels and with fewer
MOST, MOST_NARROW = 8, 2
# groups of channels that one kernel reads, each of which has a level of its own
MOST_GROUPS = 2


@dataclass(frozen=True)
class Option:
    """One way to compute a convolution, or two of a run.

    Args:
        covers: Numbers of the sites that it computes.
        levels: Of each bundle of channel groups that it touches, the level; see `Levels`.
    """

    covers: tuple[int, ...]
    levels: tuple[tuple[int, int], ...]
    place: Place

    @property
    def number(self) -> int:
        """The number of its last site."""
        return self.covers[-1]

    @property
    def where(self) -> Any:
        """What another option must share to take its place alone."""
        return self.covers, self.levels


class Levels:
    """How many channels groups may keep: bundles of groups at the same share of their channels.

    A bundle is one group; but groups that a single kernel reads more than MOST_GROUPS of are in
    one, because the choices of that kernel would be all combinations of theirs.
    """

    def __init__(self, places: Places, cuts: Sequence[str]):
        channels = places.channels
        bundles: dict[int, set[int]] = {group: {group} for group in channels.free}
        for site in places.sites:
            own = [g for g in channels.touched(site.path) if g in channels.free]
            reads = [p.group for p in channels.reads.get(site.path, ()) if p.group in channels.free]
            if len(set(reads)) > MOST_GROUPS:
                joined = set().union(*(bundles[g] for g in reads))
                bundles |= dict.fromkeys(joined, joined)
            assert set(reads) <= set(own)
        self.channels = channels
        # bundle -> level -> group -> channels that are kept
        self.kept: dict[int, list[dict[int, int]]] = {}
        for groups in {min(groups): groups for groups in bundles.values()}.values():
            steps = [
                {g: kept_channels(channels.sizes[g], share) for g in sorted(groups)}
                for share in ((1.0, *KEPT) if "channels" in cuts else (1.0,))
            ]
            levels = [one for n, one in enumerate(steps) if one not in steps[:n]]
            if len(levels) > 1:
                self.kept[min(groups)] = levels
        self.bundle = {g: b for b, levels in self.kept.items() for g in levels[0]}

    def touched(self, path: str) -> list[int]:
        """Return the bundles that a site reads or gives."""
        found = [self.bundle[g] for g in self.channels.touched(path) if g in self.bundle]
        return list(dict.fromkeys(found))

    def choices(self, path: str) -> list[dict[int, int]]:
        """Return the levels of its bundles that a site may have together, all at 0 first.

        What it gives is of about the same share as what it reads.
        """
        bundles = self.touched(path)
        written = {self.bundle.get(part.group) for part in self.channels.writes.get(path, ())}
        found = []
        for levels in product(*(range(len(self.kept[b])) for b in bundles)):
            own = dict(zip(bundles, levels, strict=True))
            given = [level for bundle, level in own.items() if bundle in written]
            if all(abs(level - other) <= 1 for level in levels for other in given):
                found.append(own)
        return found

    def counts(self, levels: Iterable[tuple[int, int]]) -> dict[int, int]:
        """Return the channels that groups keep, of those that do not keep all."""
        found = {g: n for b, level in levels for g, n in self.kept[b][level].items()}
        return {g: n for g, n in found.items() if n < self.channels.sizes[g]}

    def size(self, layout: Layout, counts: Mapping[int, int]) -> int | None:
        """Return the channels of a map; None if all are kept."""
        if not any(part.group in counts for part in layout):
            return None
        sizes = self.channels.sizes
        return sum(counts.get(p.group, sizes[p.group]) * p.repeat for p in layout)


def options_of(places: Places, levels: Levels, cuts: Sequence[str]) -> list[Option]:
    """Return all ways to compute each site; the dense one with all channels comes first."""
    found = []
    channels = places.channels
    for number, site in enumerate(places.sites):
        for own in levels.choices(site.path):
            counts = levels.counts(own.items())
            inputs = levels.size(channels.reads.get(site.path, ()), counts)
            outputs = levels.size(channels.writes.get(site.path, ()), counts)
            # other forms of fewer channels are tried where all are about as few
            families = cuts if not counts else NARROW & set(cuts)
            families = families if len(set(own.values())) <= 1 else ()
            for place in _places(site, inputs, outputs, families):
                found.append(Option((number,), tuple(own.items()), place))
    for joint in places.joints if "streams" in cuts else ():
        first, last = places.sites[joint.first], places.sites[joint.last]
        bundles = dict.fromkeys([*levels.touched(first.path), *levels.touched(last.path)], 0)
        streams = range(1, min(3, last.outputs // last.conv.groups) + 1)
        for how in joined_forms(streams, last.outputs):
            place = Place(last, Cut(last.path, how, first=first.path), first)
            found.append(Option((joint.first, joint.last), tuple(bundles.items()), place))
    return found


def _places(
    site: Site, inputs: int | None, outputs: int | None, families: Iterable[str]
) -> Iterator[Place]:
    sizes: Any = dict(inputs=inputs, outputs=outputs)
    dense = Place(site, Cut(site.path, None, **sizes))
    yield dense
    if site.convolves:
        for how in forms(_outline(dense), dense.shape, families):
            yield Place(site, Cut(site.path, how, **sizes))


def arithmetic(option: Option) -> float | None:
    """Return the multiply-adds of a form, without what comes after it."""
    place = option.place
    if not place.site.convolves:
        return 0.0
    if place.first is not None:
        try:
            return float(count(place.module(), place.shape).macs)
        except LeanError:
            return None  # the operator refuses these kernels
    return macs(_outline(place), place.shape, place.cut.how)


def channel_order(places: Places, seen: Mapping[str, Seen]) -> dict[int, list[int]]:
    """Return the channels of each free group, the most important one first.

    A channel's importance is the variance that it gives to the outputs of the kernels that read it,
    each weighted by the mean square of its slope.
    """
    channels = places.channels
    worth = {group: torch.zeros(channels.sizes[group]) for group in channels.free}
    for site in places.sites:
        layout = channels.reads.get(site.path, ())
        if not any(part.group in worth for part in layout):
            continue
        own = seen[site.path]
        rest = (0, *range(2, own.wanted.ndim))
        slopes = sum((s.square().mean(rest) for s in own.slopes), torch.zeros(()))
        weight = site.conv.weight.detach()
        weight = weight.transpose(0, 1) if isinstance(site.conv, nn.ConvTranspose3d) else weight
        slopes = slopes.to(weight) if slopes.ndim else weight.new_ones(len(weight))
        groups = getattr(site.conv, "groups", 1)
        # of a group: outputs, inputs
        taps = weight.reshape(*weight.shape[:2], -1).square().sum(2).unflatten(0, (groups, -1))
        rows = own.given.movedim(1, 0).flatten(1)
        # one position has no variance
        spread = rows.var(1) if rows.shape[1] > 1 else rows.square().mean(1)
        each = (slopes.view(groups, 1, -1) @ taps).flatten()
        values = (each * spread).cpu()
        start = 0
        for part in layout:
            size = channels.sizes[part.group] * part.repeat
            if part.group in worth:
                own_values = values[start : start + size].unflatten(0, (-1, part.repeat))
                worth[part.group] += own_values.sum(1)
            start += size
    return {group: own.argsort(descending=True).tolist() for group, own in worth.items()}


def front(options: Sequence[Option], cost: Callable[[Option], float | None]) -> list[Option]:
    """Return those worth a try: cheaper than dense, and none of its family is cheaper and nearer.

    Each family is looked at by itself, so that all families together have the choices of each.
    """
    costs = {id(option): cost(option) for option in options}
    groups: dict[Any, list[Option]] = {}
    for option in options:
        if costs[id(option)] is not None:
            groups.setdefault(option.where, []).append(option)
    kept: list[Option] = []
    for group in groups.values():
        dense = [o for o in group if o.place.cut.how is None]
        kept += dense + [o for o in group if o.place.first is not None]
        if not dense:
            continue
        most = SAVES * (costs[id(dense[0])] or 0.0)
        families: dict[str, list[Option]] = {}
        for option in sorted(group, key=lambda o: costs[id(o)] or 0.0):
            how = option.place.cut.how
            if how is not None and option.place.first is None and (costs[id(option)] or 0.0) < most:
                families.setdefault(FAMILIES[type(how)], []).append(option)
        whole = group[0].place.cut.inputs is group[0].place.cut.outputs is None
        for own in families.values():
            kept += _spread(_nearest(own), MOST if whole else MOST_NARROW)
    return kept


def _nearest(options: Sequence[Option]) -> list[Option]:
    """Return those of which no cheaper one, of those before it, has a nearer kernel."""
    errors = _kernel_errors(options)
    best, found = float("inf"), []
    for option in options:
        if errors[id(option)] < 1.0 and errors[id(option)] <= SLACK * best:
            found.append(option)
        best = min(best, errors[id(option)])
    return found


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


def _outline(place: Place) -> Any:
    """Return a convolution of as many channels, without its weights."""
    cut, conv = place.cut, place.site.conv
    whole = cut.inputs is cut.outputs is None
    return conv if whole else sized(conv, cut.inputs, cut.outputs, device="meta")


def _shaped(place: Place) -> Any:
    """Return the dense convolution of as many channels."""
    cut, conv = place.cut, place.site.conv
    inputs = None if cut.inputs is None else range(cut.inputs)
    outputs = None if cut.outputs is None else range(cut.outputs)
    return conv if inputs is outputs is None else narrow(conv, inputs, outputs)


class Scores:
    """Fits forms, and says how much worse the network gets by their outputs."""

    def __init__(
        self,
        model: nn.Module,
        places: Places,
        levels: Levels,
        seen: Mapping[str, Seen],
        criterion: Criterion,
    ):
        self.model, self.places, self.levels = model, places, levels
        self.seen, self.criterion = seen, criterion
        self.orders = channel_order(places, seen)

    def kept(self, levels: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
        """Return the channels that groups keep, of those that do not keep all."""
        counts = self.levels.counts(levels)
        return {group: sorted(self.orders[group][:n]) for group, n in counts.items()}

    def places_of(self, option: Option) -> tuple[list[int] | None, list[int] | None]:
        """Return the channels that an option reads, and those that it gives; None for all."""
        kept, channels = self.kept(option.levels), self.places.channels
        path = option.place.site.path
        inputs = places_in(channels.reads.get(path, ()), channels.sizes, kept)
        return inputs, places_in(channels.writes.get(path, ()), channels.sizes, kept)

    @torch.no_grad()
    def operator(self, option: Option) -> nn.Module:
        """Return the fitted form, its last stage fitted to the outputs on the samples."""
        place = option.place
        seen = self.seen[place.site.path]
        if place.first is not None:
            convs = (place.first.path, place.site.path)
            between = between_of(self.places, option)
            run = Run(convs, between, self.seen[place.first.path].given, seen.wanted)
            how = place.cut.how
            assert isinstance(how, ParallelSeparable)
            return how.fit_run(self.model, run)[0]
        inputs, outputs = self.places_of(option)
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
        inputs, outputs = self.places_of(option)
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
            are no slopes: the squared error over the variance, or, of outputs that do not vary,
            over their square.
    """
    if criterion in ("output", "kernel") or not slopes:
        whole = wanted.square().sum()
        spread = (wanted - wanted.mean((0, *range(2, wanted.ndim)), keepdim=True)).square().sum()
        varies = spread > 1e-10 * whole
        return float(missed.square().sum() / (spread if varies else whole).clamp_min(1e-30))
    parts = [missed * slope for slope in slopes]
    if criterion == "taylor":
        return float(sum(part.flatten(1).sum(1).abs().mean() for part in parts) / len(parts))
    return float(sum(part.square().flatten(1).sum(1).mean() for part in parts) / len(parts))


def _taken(x: Tensor, channels: list[int] | None) -> Tensor:
    return x if channels is None else x[:, channels]


def arcs_of(
    options: Sequence[Option],
    errors: Mapping[int, float],
    cost: Callable[[Option], tuple[float, float]],
) -> list[Arc]:
    """Return the choices of the integer program."""
    arcs = []
    for option in options:
        price, peak = cost(option)
        arcs.append(Arc(option.covers, option.levels, errors[id(option)], price, peak, option))
    return arcs


def between_of(places: Places, option: Option) -> tuple[str, ...]:
    """Return the modules between the convolutions that an option computes as one."""
    found = [joint.between for joint in places.joints if joint.last == option.number]
    return found[0] if option.place.first is not None else ()
