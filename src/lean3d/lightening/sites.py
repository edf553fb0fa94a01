"""Where a network can be lighter: its dense and its causal 3D convolutions, in chains.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.lean.dense import is_dense_or_causal, refusal
from lean3d.conversion.trace.graph import Flow, trace
from lean3d.ops import CausalConv3d
from lean3d.torch_functions import Trait

__all__ = ["Chain", "Site", "find_chains"]

# they treat each channel by itself, so that some of the channels can go
BY_CHANNEL = (
    nn.BatchNorm3d,
    nn.InstanceNorm3d,
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Dropout,
    nn.Dropout3d,
)


@dataclass(frozen=True)
class Site:
    """A dense 3D convolution that is called once.

    Args:
        shape: Of its input on the example.
        after: The norm and the activation that alone read it, which are timed with it.
    """

    path: str
    conv: nn.Conv3d
    shape: tuple[int, ...]
    after: tuple[nn.Module, ...]


@dataclass(frozen=True)
class Chain:
    """Convolutions each of which is read by the next one alone.

    Args:
        between: Paths of the modules between two of them; None where a function or another module
            needs all channels.
    """

    sites: tuple[Site, ...]
    between: tuple[tuple[str, ...] | None, ...]


def find_chains(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[Chain]:
    """Return all dense 3D convolutions that can be replaced; the model is in eval mode."""
    flow = trace(model, arguments)
    owners = Counter(id(m.weight) for m in model.modules() if is_dense_or_causal(m))

    def fits(module: Any) -> bool:
        dense = is_dense_or_causal(module) and not refusal(module)
        return dense and owners[id(module.weight)] == 1

    chains = []
    for numbers in flow.runs(fits):
        sites: list[Site] = []
        between: list[tuple[str, ...] | None] = []
        for number, after in zip(numbers, [*numbers[1:], None], strict=True):
            sites.append(_site(flow, number))
            if after is not None:
                between.append(_between(flow, number, after))
        chains.append(Chain(tuple(sites), tuple(between)))
    return chains


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


def _between(flow: Flow, first: int, last: int) -> tuple[str, ...] | None:
    paths: list[str] = []
    calls = Counter(call.path for call in flow.calls)
    number = flow.calls[first].users[0]
    kernels: list[Any] = [flow.calls[number].module for number in (first, last)]
    plain = nn.Conv3d, CausalConv3d
    if any(conv.groups != 1 or type(conv) not in plain for conv in kernels):
        return None
    while number != last:
        call = flow.calls[number]
        if call.module is not None:
            if type(call.module) not in BY_CHANNEL or calls[call.path] != 1:
                return None
            paths.append(call.path)
        elif Trait.ACTIVATES not in call.traits:
            return None
        number = call.users[0]
    return tuple(paths)
