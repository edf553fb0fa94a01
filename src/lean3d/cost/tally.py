"""Record the aten calls of a forward pass and assign each to the module that made it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lean3d.cost.channel_interactions import call_interactions
from lean3d.cost.memory import Memory, tensor_bytes
from lean3d.cost.profiles import Rule
from lean3d.tracer import Args, Kwargs, Watch

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
    """Counts what a model does in `run`.

    A module called again repeats its work but not its channel interactions, which belong to the
    layer and not to the call.
    """

    def __init__(self, cost_of: dict[Any, Rule], model: nn.Module):
        super().__init__()
        self.rows = {"": Row("", type(model).__name__, [])}
        self.memory = Memory()
        self.watch = _Rows(model, self.rows)
        self._cost_of = cost_of

    def run(self, inputs: list[Tensor]) -> None:
        """Run the model; its own weights and buffers are not activations."""
        model = self.watch.modules[""]
        self.memory.know([*model.parameters(), *model.buffers()])
        self.memory.add(inputs)
        with self:
            self.watch.see(lambda: model(*inputs))

    @property
    def failed(self) -> Row:
        """The innermost module that was running when the model failed."""
        return self.rows[self.watch.failed]

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
        row = self.rows[self.watch.stack[-1] if self.watch.stack else ""]
        row.activation_bytes += self.memory.add(output)
        # views are created without reading their data
        if not function.is_view:
            row.moved_bytes += tensor_bytes((args, kwargs)) + tensor_bytes(output)
        if rule is not None:
            row.macs += rule(*args, out_val=output, **kwargs)
        if row.calls == 1:
            row.interactions += call_interactions(op, args)
        return output


class _Rows(Watch):
    def __init__(self, model: nn.Module, rows: dict[str, Row]):
        super().__init__(model)
        self.rows = rows

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        shapes = tensor_shapes((args, kwargs))
        row = self.rows.setdefault(path, Row(path, type(self.modules[path]).__name__, shapes))
        row.input_shapes, row.calls = shapes, row.calls + 1

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        self.rows[path].output_shape = next(iter(tensor_shapes(output)), ())
