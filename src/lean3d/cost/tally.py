"""Record the aten calls of a forward pass and assign each to the module that made it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lean3d.cost.channel_interactions import call_interactions
from lean3d.cost.memory import Memory, tensor_bytes
from lean3d.cost.profiles import Rule

__all__ = ["Tally", "tensor_shapes"]


def tensor_shapes(tree: object) -> list[tuple[int, ...]]:
    """The shapes of the tensors in nested arguments, in order."""
    return [tuple(leaf.shape) for leaf in tree_iter(tree) if isinstance(leaf, Tensor)]


@dataclass
class Row:
    """The recorded calls of one module."""

    path: str
    type: str
    input_shapes: list[tuple[int, ...]]
    output_shape: tuple[int, ...] = ()
    calls: int = 0
    macs: int = 0
    interactions: int = 0
    activation_bytes: int = 0
    moved_bytes: int = 0


class Tally(TorchDispatchMode):
    """Counts what a model does inside `watch`.

    A module called again repeats its work but not its channel interactions, which belong to the
    layer and not to the call.
    """

    def __init__(self, cost_of: dict[Any, Rule]):
        super().__init__()
        self.rows: dict[str, Row] = {}
        self.stack = [""]
        self.memory = Memory()
        self._cost_of = cost_of

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Hook every module of `model`; its own weights and buffers are not activations."""
        self.memory.know([*model.parameters(), *model.buffers()])
        self.rows[""] = Row("", type(model).__name__, [])
        hooks = []
        for path, module in model.named_modules():
            enter, leave = self._entry(path), self._exit(path)
            hooks.append(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True))
            hooks.append(module.register_forward_hook(leave))
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _entry(self, path: str):
        def enter(module: nn.Module, args: object, kwargs: object) -> None:
            shapes = tensor_shapes((args, kwargs))
            row = self.rows.setdefault(path, Row(path, type(module).__name__, shapes))
            row.input_shapes, row.calls = shapes, row.calls + 1
            self.stack.append(path)

        return enter

    def _exit(self, path: str):
        def leave(module: nn.Module, args: object, output: object) -> None:
            self.rows[path].output_shape = next(iter(tensor_shapes(output)), ())
            # modules further up the stack raised an error that the model caught
            while self.stack.pop() != path:
                pass

        return leave

    def __torch_dispatch__(self, function: Any, types: object, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        op = function.overloadpacket
        rule = self._cost_of.get(op)
        if rule is None:
            # inference mode dispatches composite operators; decompose them
            with self:
                parts = function.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        output = function(*args, **kwargs)
        row = self.rows[self.stack[-1]]
        row.activation_bytes += self.memory.add(output)
        # views are created without reading their data
        if not function.is_view:
            row.moved_bytes += tensor_bytes((args, kwargs)) + tensor_bytes(output)
        if rule is not None:
            row.macs += rule(*args, out_val=output, **kwargs)
        if row.calls == 1:
            row.interactions += call_interactions(op, args)
        return output
