"""A network as a graph of torch functions with constant weights, for backends that rewrite it."""

import copy
import operator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.experimental import _config as sizes_config
from torch.fx.node import map_arg

__all__ = [
    "ExportedGraph",
    "add_constant",
    "constant",
    "exported",
    "finish",
    "guards",
    "is_constant",
]


@dataclass(frozen=True)
class ExportedGraph:
    """What torch.export made of a network."""

    program: ExportedProgram

    def copy(self) -> GraphModule:
        """Return the graph, its weights shared with the network; it checks sizes when it runs."""
        graph = self.program.module()
        assert isinstance(graph, GraphModule)
        fold_constants(graph)
        return graph


@torch.no_grad()
def exported(
    model: nn.Module, arguments: tuple[Tensor, ...], *, batch_alone: bool = False
) -> ExportedGraph:
    """Export a network, the batch and all sizes beyond the channels free where it allows that.

    Args:
        batch_alone: Leave the batch free, and no other size.
    """
    # by tensor, as a forward may take any number of arguments (*xs)
    sizes = torch.export.ShapesCollection()
    for x in arguments:
        free = {0} if batch_alone else {*range(x.ndim)} - {1}
        sizes[x] = {axis: Dim.AUTO for axis in range(x.ndim) if axis in free}
    shapes = sizes.dynamic_shapes(model, arguments)
    # an axis of one voxel or one sample is a size like any other
    config: Any = sizes_config
    known = hasattr(config, "backed_size_oblivious")
    with config.patch(backed_size_oblivious=True) if known else nullcontext():
        return ExportedGraph(torch.export.export(model, arguments, dynamic_shapes=shapes))


def is_constant(node: object) -> bool:
    """Whether a node is a weight of the network."""
    return isinstance(node, Node) and node.op == "get_attr"


def constant(graph: GraphModule, node: Node) -> Tensor:
    """Return the weight that a node names."""
    owner, _, name = str(node.target).rpartition(".")
    value = getattr(graph.get_submodule(owner), name)
    assert isinstance(value, Tensor)
    return value.detach()


@torch.no_grad()
def fold_constants(graph: GraphModule) -> None:
    """Compute once what depends on weights alone."""
    for node in list(graph.graph.nodes):
        inputs = node.all_input_nodes
        pure = node.op == "call_function" and inputs and all(map(is_constant, inputs))
        if not pure or node.is_impure() or _writes(node):
            continue
        arguments = map_arg((node.args, node.kwargs), lambda n: constant(graph, n))
        value = node.target(*arguments[0], **arguments[1])
        if isinstance(value, Tensor):
            _replace(graph, node, value)
        elif isinstance(value, list | tuple):  # of a split, read by its places
            for user in list(node.users):
                part = value[user.args[1]] if user.target is operator.getitem else None
                if isinstance(part, Tensor):
                    _replace(graph, user, part)
    graph.recompile()


def _replace(graph: GraphModule, node: Node, value: Tensor) -> None:
    with graph.graph.inserting_before(node):
        new = graph.graph.get_attr(add_constant(graph, node.name, value))
    new.meta = copy.copy(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)


def guards(node: Node) -> bool:
    """Whether a node checks the sizes of the inputs, as torch.export recorded them."""
    return node.op == "call_module" and node.target == "_guards_fn"


def finish(graph: GraphModule) -> None:
    """Drop what nothing reads, and compile the graph."""
    for node in reversed(list(graph.graph.nodes)):
        used = node.users or node.op in ("placeholder", "output")
        if not used and not guards(node) and not node.is_impure():
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()


def add_constant(graph: GraphModule, name: str, value: Tensor) -> str:
    """Store a tensor with the graph, under a name that is returned."""
    name = f"constant_{name}"
    graph.register_buffer(name, value.detach(), persistent=False)
    return name


def _writes(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is None or schema.is_mutable
