"""The graph of calls of a model, recorded in one run of it.

A node is a call of a module without children, or of a torch function in another forward.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lean3d.conversion.surgery.copies import in_eval
from lean3d.conversion.to3d.merged.active import is_moving
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.tree import copies
from lean3d.torch_functions import NOTHING, TRAITS, Trait
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["Flow", "Look", "Node", "trace"]

Function: TypeAlias = Callable[..., object]

# pointwise layers allowed between two chained convolutions
CARRIERS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.Identity,
    nn.modules.dropout._DropoutNd,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
)


class Look:
    """Is told of a run while it is recorded."""

    def entered(self, path: str, args: Args) -> None:
        """Take note of the arguments of a module."""

    def called(self, function: Any, args: Args, kwargs: Kwargs, result: Any) -> object:
        """Return what is to be kept with a call of a function."""


@dataclass
class Node:
    """One call of a function or a module.

    Args:
        path: Of the module; "" for a function.
        name: Of the function, or of the module's class.
        traits: Of the function; none for a module.
        sources: The calls that made its tensors; -1 for tensors not made by a call.
        shapes: Of its tensors, in the same order.
        owner: Path of the module whose own forward contains it.
        users: The calls that read its output.
        seen: What the `Look` of `trace` returned for it.
    """

    path: str
    name: str
    module: nn.Module | None
    sources: list[int]
    shapes: list[tuple[int, ...]]
    shape: tuple[int, ...]
    owner: str = ""
    traits: Trait = NOTHING
    users: list[int] = field(default_factory=list)
    seen: Any = None

    @property
    def carries(self) -> bool:
        return isinstance(self.module, CARRIERS) or Trait.ACTIVATES in self.traits


@dataclass
class Flow:
    """Return all calls, in order."""

    calls: list[Node]

    def runs(self, is_kernel: Callable[[nn.Module], bool]) -> list[list[int]]:
        """Return chains of kernels, each fed by the previous one alone, as lists."""
        once = Counter(call.path for call in self.calls)
        kernels = [
            number
            for number, call in enumerate(self.calls)
            if call.module is not None and is_kernel(call.module) and once[call.path] == 1
        ]
        after = {number: self.end(number) for number in kernels}
        follows = {end: number for number, end in after.items() if end in after}
        runs = []
        for number in kernels:
            if number not in follows:
                runs.append([number])
                while after[runs[-1][-1]] in after:
                    runs[-1].append(after[runs[-1][-1]])
        return runs

    def end(self, number: int) -> int:
        """Return the first non-pointwise call after this one; -1 if the output branches."""
        while len(self.calls[number].users) == 1:
            number = self.calls[number].users[0]
            if not self.calls[number].carries:
                return number
        return -1

    def adds(self, run: list[int]) -> bool:
        """Whether the output of a run of kernels is added to a tensor, as in a residual block."""
        end = self.end(run[-1])
        return end >= 0 and Trait.ADDS in self.calls[end].traits

    def after(self, number: int) -> list[int]:
        """Return every call that its output reaches."""
        reached, rest = set(), list(self.calls[number].users)
        while rest:
            if (user := rest.pop()) not in reached:
                reached.add(user)
                rest += self.calls[user].users
        return sorted(reached)


class _Graph(Watch):
    def __init__(self, model: nn.Module, look: Look | None):
        super().__init__(model)
        self.told = look or Look()
        self.nodes: list[Node] = []
        self.makers: dict[int, int] = {}
        self.alive: list[Tensor] = []

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        self.told.entered(path, args)

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        module = self.modules[path]
        if not module._modules:
            self.note(path, type(module), module, (args, kwargs), output)

    def called(
        self,
        path: str,
        function: Function,
        args: Args,
        kwargs: Kwargs,
        result: object,
        before: object,
    ) -> None:
        made, taken = tensors(result), tensors(args)
        seen = self.told.called(function, args, kwargs, result)
        if is_moving() and [x.numel() for x in made] == [x.numel() for x in taken]:
            # the same values in another layout, between a merged forward and its child modules
            self.makers |= {id(x): self.makers.get(id(taken[0]), -1) for x in made}
            self.alive += made
        elif self.modules[path]._modules:
            self.note("", function, None, (args, kwargs), result, seen)

    def note(
        self,
        path: str,
        function: Function,
        module: nn.Module | None,
        given: object,
        answer: object,
        seen: object = None,
    ) -> None:
        made, taken = tensors(answer), tensors(given)
        if not made:
            return
        sources = [self.makers.get(id(x), -1) for x in taken]
        number = len(self.nodes)
        for source in set(sources) - {-1}:
            self.nodes[source].users.append(number)
        shapes = [tuple(x.shape) for x in taken]
        shape, owner = tuple(made[0].shape), self.stack[-1] if self.stack else ""
        name, traits = getattr(function, "__name__", str(function)), TRAITS.get(function, NOTHING)
        call = Node(path, name, module, sources, shapes, shape, owner, traits, seen=seen)
        self.nodes.append(call)
        self.makers |= {id(x): number for x in made}
        # an id is valid while its tensor lives
        self.alive += [*made, *taken]


@torch.no_grad()
def trace(model: nn.Module, arguments: tuple[Tensor, ...], look: Look | None = None) -> Flow:
    """Run the model once in eval mode and record its graph of calls.

    Args:
        look: Is told of every call of a function, also in modules without children.
    """
    graph = _Graph(model, look)
    given = copies(arguments)
    with in_eval(model):
        graph.see(lambda: model(*given))
    return Flow(graph.nodes)
