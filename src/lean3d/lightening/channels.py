"""Which channels of a network go together: those that an addition joins, or that several read.

A dependency graph as in DepGraph (Fang et al., arXiv:2301.12900), taken from one traced run: the
outputs of kernels are groups of channels, additions unite groups, concatenations put them in a row.
What a convolution in groups or a group norm takes together goes together, as one channel of several
values, and so does what the convolution makes of it.
What a function does to channels is guessed from shapes, and checked: a network without some
channels must give what the network gives in which nobody reads them.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.dense import is_dense_or_causal, refusal
from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.surgery.take_over import take_over
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.graph import Flow, Node
from lean3d.conversion.trace.tree import copies
from lean3d.lightening.cut import kept_norm, narrow
from lean3d.ops.inflated import InflatedConvTranspose3d
from lean3d.torch_functions import Trait

__all__ = ["Channels", "Layout", "Part", "find_channels", "is_kernel", "places_in"]

# how far outputs may be apart by rounding, as a share
NEAR = 1e-4


@dataclass(frozen=True)
class Part:
    """Channels of a map that are those of a group, in order.

    Args:
        repeat: Values in a row that are of one channel, after positions were made channels,
            or because a convolution in groups or a group norm takes several channels together.
    """

    group: int
    repeat: int = 1


Layout = tuple[Part, ...]


@dataclass(frozen=True)
class Channels:
    """Groups of channels.

    Args:
        sizes: Channels of each group.
        free: Groups that can have fewer.
        reads: Layouts of the inputs of kernels, by path.
        writes: Layouts of their outputs, by path.
        norms: Layouts of what norms, and PReLUs with a slope for each channel, get, by path.
    """

    sizes: Mapping[int, int] = field(default_factory=dict)
    free: frozenset[int] = frozenset()
    reads: Mapping[str, Layout] = field(default_factory=dict)
    writes: Mapping[str, Layout] = field(default_factory=dict)
    norms: Mapping[str, Layout] = field(default_factory=dict)

    def without(self, groups: Iterable[int]) -> "Channels":
        return replace(self, free=self.free - set(groups))

    def touched(self, path: str) -> list[int]:
        """Return the free groups that a kernel reads or gives, each once."""
        parts = (*self.reads.get(path, ()), *self.writes.get(path, ()))
        found = [part.group for part in parts]
        return [group for group in dict.fromkeys(found) if group in self.free]


def places_in(
    layout: Layout, sizes: Mapping[int, int], kept: Mapping[int, Sequence[int]]
) -> list[int] | None:
    """Return where the kept channels of groups are in a map; None if all are kept."""
    if not any(part.group in kept for part in layout):
        return None
    found: list[int] = []
    start = 0
    for part in layout:
        size = sizes[part.group]
        for channel in kept.get(part.group, range(size)):
            first = start + channel * part.repeat
            found += range(first, first + part.repeat)
        start += size * part.repeat
    return found


def is_kernel(module: Any) -> bool:
    """Whether it is a layer whose inputs and outputs can be fewer, and computes as torch's does."""
    if is_dense_or_causal(module):
        return not refusal(module)
    for kind in (nn.ConvTranspose3d, InflatedConvTranspose3d, nn.Linear):
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return "weight" in module._parameters and getattr(module, "groups", 1) == 1
    return False


def find_channels(model: nn.Module, arguments: tuple[Tensor, ...], flow: Flow) -> Channels:
    """Return the groups of a traced network in eval mode, those that passed the check are free."""
    found = _Walk(model, flow).found()
    while found.free and not _holds(model, arguments, found, found.free):
        wrong = {g for g in found.free if not _holds(model, arguments, found, {g})}
        found = found.without(wrong or found.free)
    return found


class _Walk:
    """Follows channels through the calls of a network."""

    def __init__(self, model: nn.Module, flow: Flow):
        self.calls = flow.calls
        self.layouts: list[Layout] = [()] * len(flow.calls)
        # the group that a group is part of, and how many channels are one of its channels
        self.above: list[tuple[int, int]] = []
        self.sizes: list[int] = []
        self.fixed: set[int] = set()
        self.reads: dict[str, Layout] = {}
        self.writes: dict[str, Layout] = {}
        self.norms: dict[str, Layout] = {}
        self.times = Counter(call.path for call in flow.calls)
        self.owners = Counter(id(p) for m in model.modules() for p in m._parameters.values())
        for number, call in enumerate(flow.calls):
            self.layouts[number] = layout = self._step(call)
            if not call.users:
                self._fix(layout)

    def found(self) -> Channels:
        fixed = {self._root(group)[0] for group in self.fixed}

        def rooted(layout: Layout) -> Layout:
            return tuple(self._rooted(part) for part in layout)

        roots = {self._root(group)[0] for group in range(len(self.sizes))}
        written = {part.group for layout in self.writes.values() for part in rooted(layout)}
        return Channels(
            {group: self.sizes[group] for group in roots},
            frozenset(g for g in written - fixed if self.sizes[g] > 1),
            {path: rooted(layout) for path, layout in self.reads.items()},
            {path: rooted(layout) for path, layout in self.writes.items()},
            {path: rooted(layout) for path, layout in self.norms.items()},
        )

    def _step(self, call: Node) -> Layout:
        module: Any = call.module
        given = [
            (self._layout(source, shape), shape)
            for source, shape in zip(call.sources, call.shapes, strict=True)
            if source >= 0
        ]
        if module is None:
            return self._join(call, given)
        if len(call.sources) == 1 and self._once(call):
            first = given[0][0] if given else self._fixed(call.shapes[0])
            if is_kernel(module) and self._along_axis_one(call):
                own = self._written(call, first)
                self.reads[call.path], self.writes[call.path] = first, own
                return own
            if _scales(module):
                self._together(first, getattr(module, "num_groups", self._width(first)))
                self.norms[call.path] = first
                return first
        if any(p.numel() > 1 for p in (*module.parameters(), *module.buffers())):
            return self._barrier(call, given)
        return self._join(call, given)

    def _once(self, call: Node) -> bool:
        own: Any = call.module
        return self.times[call.path] == 1 and all(
            self.owners[id(p)] == 1 for p in own._parameters.values() if p is not None
        )

    def _along_axis_one(self, call: Node) -> bool:
        # a linear layer works on the last axis
        return not isinstance(call.module, nn.Linear) or len(call.shape) == 2

    def _written(self, call: Node, first: Layout) -> Layout:
        """Return the channels that a kernel gives: new ones, or those of its groups."""
        groups = getattr(call.module, "groups", 1)
        if groups == 1:
            return (Part(self._group(call.shape[1])),)
        if not self._together(first, groups):
            return self._fixed(call.shape)
        inputs, outputs = self._width(first) // groups, call.shape[1] // groups
        parts = (self._rooted(part) for part in first)
        return tuple(Part(part.group, part.repeat // inputs * outputs) for part in parts)

    def _together(self, layout: Layout, units: int) -> bool:
        """Make each unit of a map part of one channel, or keep all where it is of two groups."""
        unit = self._width(layout) // units
        for part in layout:
            own = self._rooted(part)
            if self.sizes[own.group] * own.repeat % unit or not self._widen(own, unit):
                self._fix(layout)
                return False
        return True

    def _widen(self, part: Part, unit: int) -> bool:
        """Put channels of a root together, so that each is of a multiple of `unit` values."""
        more = math.lcm(part.repeat, unit) // part.repeat
        if self.sizes[part.group] % more:
            return False
        if more > 1:
            wide = self._group(self.sizes[part.group] // more)
            self.above[part.group] = wide, more
            if part.group in self.fixed:
                self.fixed.add(wide)
        return True

    def _join(self, call: Node, given: list[tuple[Layout, tuple[int, ...]]]) -> Layout:
        """Return the layout of what treats channels alike, or puts maps in a row."""
        out = call.shape
        alone = [
            shape
            for source, shape in zip(call.sources, call.shapes, strict=True)
            if source < 0 and math.prod(shape) > 1
        ]
        whole = [(layout, shape) for layout, shape in given if math.prod(shape) > 1]
        if len(out) < 2 or not whole or alone or Trait.MIXES_CHANNELS in call.traits:
            return self._barrier(call, given)
        counts = [shape[1] if len(shape) > 1 else 0 for _, shape in whole]
        wide = [layout for (layout, _), n in zip(whole, counts, strict=True) if n == out[1]]
        if wide and all(n in (1, out[1]) for n in counts):
            # a map of one channel weighs the others
            return self._united(wide)
        if len(whole) > 1 and sum(counts) == out[1]:
            return tuple(part for layout, _ in whole for part in layout)
        ((layout, shape), *more) = whole
        if not more and len(out) == 2 and counts[0] and math.prod(shape[1:]) == out[1]:
            each = out[1] // counts[0]
            return tuple(Part(part.group, part.repeat * each) for part in layout)
        return self._barrier(call, given)

    def _barrier(self, call: Node, given: list[tuple[Layout, tuple[int, ...]]]) -> Layout:
        """Return new channels, and keep all that were read."""
        for layout, _ in given:
            self._fix(layout)
        return self._fixed(call.shape)

    def _layout(self, source: int, shape: tuple[int, ...]) -> Layout:
        """Return the layout of a call's output; of another one of several outputs, a new one."""
        layout = self.layouts[source]
        if self._width(layout) == (shape[1] if len(shape) > 1 else 1):
            return layout
        self._fix(layout)
        return self._fixed(shape)

    def _fixed(self, shape: tuple[int, ...]) -> Layout:
        """Return channels that all stay."""
        made = (Part(self._group(shape[1] if len(shape) > 1 else 1)),)
        self._fix(made)
        return made

    def _width(self, layout: Layout) -> int:
        return sum(self.sizes[part.group] * part.repeat for part in layout)

    def _group(self, size: int) -> int:
        self.above.append((len(self.above), 1))
        self.sizes.append(size)
        return len(self.above) - 1

    def _root(self, group: int) -> tuple[int, int]:
        """Return the group that holds a group's channels, and how many are one of its own."""
        together = 1
        while self.above[group][0] != group:
            group, more = self.above[group]
            together *= more
        return group, together

    def _rooted(self, part: Part) -> Part:
        root, together = self._root(part.group)
        return Part(root, part.repeat * together)

    def _fix(self, layout: Layout) -> None:
        self.fixed |= {part.group for part in layout}

    def _united(self, layouts: Sequence[Layout]) -> Layout:
        first = layouts[0]
        for other in layouts[1:]:
            alike = [self._width((part,)) for part in first] == [
                self._width((part,)) for part in other
            ]
            if not alike or not all(map(self._unite, first, other)):
                for layout in layouts:
                    self._fix(layout)
                return first
        return first

    def _unite(self, one: Part, two: Part) -> bool:
        """Make channels at the same place one channel, or say that they do not fit."""
        for part, other in ((one, two), (two, one)):
            if not self._widen(self._rooted(part), self._rooted(other).repeat):
                return False
        low, high = sorted(self._root(part.group)[0] for part in (one, two))
        if low != high:
            self.above[high] = low, 1
        # a fixed group makes the united one fixed
        if high in self.fixed:
            self.fixed.add(low)
        return True


def _scales(module: Any) -> bool:
    """Whether it has a weight for each channel: a norm, or a PReLU."""
    kinds = nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm
    slopes = isinstance(module, nn.PReLU) and module.num_parameters > 1
    return isinstance(module, kinds) or slopes


@torch.no_grad()
def _holds(
    model: nn.Module, arguments: tuple[Tensor, ...], found: Channels, groups: Iterable[int]
) -> bool:
    """Whether a network without half of the channels is one in which nobody reads them."""
    generator = torch.Generator().manual_seed(0)
    kept = {
        g: sorted(
            torch.randperm(found.sizes[g], generator=generator)[: found.sizes[g] // 2].tolist()
        )
        for g in sorted(groups)
    }
    thin, masked = duplicate(model), duplicate(model)
    modules: dict[str, Any] = dict(thin.named_modules())
    for path, layout in found.reads.items():
        inputs = places_in(layout, found.sizes, kept)
        outputs = places_in(found.writes[path], found.sizes, kept)
        kernel: Any = masked.get_submodule(path)
        # what a convolution in groups reads goes on to those that read it
        if inputs is not None and getattr(kernel, "groups", 1) == 1:
            left = torch.zeros(_inputs(kernel), dtype=torch.bool)
            left[inputs] = True
            axis = 0 if isinstance(kernel, nn.ConvTranspose3d) else 1
            kernel.weight.index_fill_(axis, (~left).nonzero().flatten().to(kernel.weight.device), 0)
        if inputs is not None or outputs is not None:
            take_over(modules[path], narrow(modules[path], inputs, outputs))
    for path, layout in found.norms.items():
        channels = places_in(layout, found.sizes, kept)
        if channels is not None:
            take_over(modules[path], kept_norm(modules[path], channels))
    try:
        one, other = (tensors(network(*copies(arguments))) for network in (thin, masked))
    except Exception:  # a forward that counts its channels may raise anything
        return False
    return [x.shape for x in one] == [x.shape for x in other] and all(
        float((x - y).abs().max()) <= NEAR * max(float(y.abs().max()), 1e-6)
        for x, y in zip(one, other, strict=True)
        if x.numel() and x.is_floating_point()
    )


def _inputs(kernel: Any) -> int:
    size: int = kernel.in_features if isinstance(kernel, nn.Linear) else kernel.in_channels
    return size
