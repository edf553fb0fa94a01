"""Where a network can be lighter: its dense and its causal 3D convolutions, and their channels.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.lean.dense import is_dense_or_causal, refusal
from lean3d.conversion.lean.runs import joins
from lean3d.conversion.trace.graph import Flow, trace
from lean3d.lightening.channels import Channels, find_channels, is_kernel
from lean3d.ops import CausalConv3d
from lean3d.torch_functions import Trait

__all__ = ["Joint", "Places", "Site", "find_places"]


@dataclass(frozen=True)
class Site:
    """A layer that is called once: a dense 3D convolution, or a kernel whose channels can go.

    Args:
        conv: The convolution; also a transposed one, or a linear layer, which get no other form.
        shape: Of its input on the example.
        after: The norm and the activation that alone read it, which are timed with it.
    """

    path: str
    conv: Any
    shape: tuple[int, ...]
    after: tuple[nn.Module, ...]

    @property
    def convolves(self) -> bool:
        return is_dense_or_causal(self.conv)

    @property
    def inputs(self) -> int:
        size: int = getattr(self.conv, "in_features", None) or self.conv.in_channels
        return size

    @property
    def outputs(self) -> int:
        size: int = getattr(self.conv, "out_features", None) or self.conv.out_channels
        return size


@dataclass(frozen=True)
class Joint:
    """Two convolutions that can become one operator.

    Args:
        first, last: Their numbers.
        between: Paths of the modules between them.
    """

    first: int
    last: int
    between: tuple[str, ...]


@dataclass(frozen=True)
class Places:
    """All that can change, in the order of the network."""

    sites: tuple[Site, ...]
    joints: tuple[Joint, ...]
    channels: Channels

    def shaped(self, shapes: Sequence[tuple[int, ...]]) -> "Places":
        """Return the same with other shapes of inputs."""
        pairs = zip(self.sites, shapes, strict=True)
        return replace(self, sites=tuple(replace(site, shape=shape) for site, shape in pairs))


def find_places(model: nn.Module, arguments: tuple[Tensor, ...], *, fewer: bool) -> Places:
    """Return all dense 3D convolutions that can be replaced; the model is in eval mode.

    Args:
        fewer: Whether channels may go; then also other kernels that read or give those.
    """
    flow = trace(model, arguments)
    owners = Counter(id(m.weight) for m in model.modules() if is_dense_or_causal(m))
    channels = find_channels(model, arguments, flow) if fewer else Channels()
    times = Counter(call.path for call in flow.calls)

    def fits(module: Any) -> bool:
        dense = is_dense_or_causal(module) and not refusal(module)
        return dense and owners[id(module.weight)] == 1

    numbers = [
        number
        for number, call in enumerate(flow.calls)
        if call.module is not None
        and times[call.path] == 1
        and (fits(call.module) or (is_kernel(call.module) and channels.touched(call.path)))
    ]
    sites = tuple(_site(flow, number) for number in numbers)
    where = {number: place for place, number in enumerate(numbers)}
    joints = []
    for first, last in (pair for run in flow.runs(fits) for pair in pairwise(run)):
        between = _between(flow, first, last)
        kernels = flow.calls[first].module, flow.calls[last].module
        if between is not None and _one_operator(*kernels):
            joints.append(Joint(where[first], where[last], between))
    return Places(sites, tuple(joints), channels)


def _site(flow: Flow, number: int) -> Site:
    call = flow.calls[number]
    conv: Any = call.module
    return Site(call.path, conv, call.shapes[0], tuple(_after(flow, number)))


def _after(flow: Flow, number: int) -> Iterator[nn.Module]:
    while len(flow.calls[number].users) == 1:
        number = flow.calls[number].users[0]
        call = flow.calls[number]
        if isinstance(call.module, nn.Identity | nn.Dropout | nn.Dropout3d):
            continue
        if call.module is not None and call.carries:
            yield call.module
        elif Trait.ACTIVATES in call.traits:
            # all of them cost about as much
            yield nn.ReLU()
        else:
            return


def _one_operator(first: Any, last: Any) -> bool:
    spans = first.kernel_size[0] > 1 and max(first.kernel_size[1:]) > 1
    return spans and not isinstance(last, CausalConv3d) and joins(first, last)


def _between(flow: Flow, first: int, last: int) -> tuple[str, ...] | None:
    """Return the modules between two convolutions; None if one of them cannot be removed."""
    paths: list[str] = []
    calls = Counter(call.path for call in flow.calls)
    number = flow.calls[first].users[0]
    if not all(is_kernel(flow.calls[number].module) for number in (first, last)):
        return None
    while number != last:
        call = flow.calls[number]
        if call.module is not None:
            if calls[call.path] != 1:
                return None
            paths.append(call.path)
        elif Trait.ACTIVATES not in call.traits:
            return None
        number = call.users[0]
    return tuple(paths)
