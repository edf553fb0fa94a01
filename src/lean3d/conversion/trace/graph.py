"""The graph of calls of a model, recorded in one run of it.

A node is a call of a module without children, or of a torch function in another forward.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lean3d.conversion.trace.compare import mapped, tensors

__all__ = ["Call", "Flow", "trace"]

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
CARRYING = {"relu", "relu_", "leaky_relu", "gelu", "silu", "hardswish", "relu6", "dropout"}
ADDING = {"add", "add_", "__add__", "__iadd__", "__radd__"}


@dataclass
class Call:
    """One call.

    Args:
        path: Of the module; "" for a function.
        name: Of the function, or of the module's class.
        sources: The calls that made its tensors; -1 for tensors not made by a call.
        shapes: Of its tensors, in the same order.
        owner: Path of the module whose own forward contains it.
        users: The calls that read its output.
    """

    path: str
    name: str
    module: nn.Module | None
    sources: list[int]
    shapes: list[tuple[int, ...]]
    shape: tuple[int, ...]
    owner: str = ""
    users: list[int] = field(default_factory=list)

    @property
    def carries(self) -> bool:
        return isinstance(self.module, CARRIERS) or (not self.path and self.name in CARRYING)


@dataclass
class Flow:
    """Return all calls, in order."""

    calls: list[Call]

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
        return end >= 0 and not self.calls[end].path and self.calls[end].name in ADDING

    def after(self, number: int) -> list[int]:
        """Return every call that its output reaches."""
        reached, rest = set(), list(self.calls[number].users)
        while rest:
            if (user := rest.pop()) not in reached:
                reached.add(user)
                rest += self.calls[user].users
        return sorted(reached)


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.makers: dict[int, int] = {}
        self.alive: list[Any] = []
        self.inside = False
        self.running = [""]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        if not self.inside:
            self.note("", getattr(func, "__name__", str(func)), None, (args, kwargs), answer)
        return answer

    def note(self, path: str, name: str, module: nn.Module | None, given: Any, answer: Any) -> None:
        made = tensors(answer)
        taken = tensors(given)
        if not made:
            return
        sources = [self.makers.get(id(x), -1) for x in taken]
        number = len(self.calls)
        for source in set(sources) - {-1}:
            self.calls[source].users.append(number)
        shapes = [tuple(x.shape) for x in taken]
        shape, owner = tuple(made[0].shape), self.running[-1]
        self.calls.append(Call(path, name, module, sources, shapes, shape, owner))
        self.makers |= {id(x): number for x in made}
        # an id is valid while its tensor lives
        self.alive += [*made, *taken]


@torch.no_grad()
def trace(model: nn.Module, arguments: tuple[Tensor, ...]) -> Flow:
    """Run the model once and record its graph of calls."""
    recorder, handles = _Recorder(), []

    def enter(module: nn.Module, args: Any) -> None:
        recorder.inside = True

    def leave(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, answer: Any) -> None:
            recorder.inside = False
            recorder.note(path, type(module).__name__, module, (args, kwargs), answer)

        return hook

    def begin(path: str) -> Callable[..., None]:
        return lambda module, args: recorder.running.append(path)

    def finish(module: nn.Module, args: Any, answer: Any) -> None:
        recorder.running.pop()

    for path, module in model.named_modules():
        if module._modules:
            handles.append(module.register_forward_pre_hook(begin(path)))
            handles.append(module.register_forward_hook(finish))
        else:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave(path), with_kwargs=True))
    try:
        with recorder:
            model(*mapped(lambda x: x, arguments))
    finally:
        for handle in handles:
            handle.remove()
    return Flow(recorder.calls)
