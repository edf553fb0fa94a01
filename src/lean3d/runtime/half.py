"""Half precision in a graph: where torch has kernels for it, single precision elsewhere."""

from collections.abc import Set
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_map_only

from lean3d.runtime.fusion import FusedConv

__all__ = ["in_half_precision", "in_single"]

aten = torch.ops.aten
# functions that lose little in half precision and have kernels for it on a CPU
HALF = {
    aten.relu.default,
    aten.silu.default,
    aten.sigmoid.default,
    aten.hardswish.default,
    aten.hardsigmoid.default,
    aten.leaky_relu.default,
    aten.hardtanh.default,
    aten.gelu.default,
    aten.tanh.default,
    aten.add.Tensor,
    aten.mul.Tensor,
    aten.cat.default,
    aten.max_pool2d.default,
    aten.max_pool3d.default,
    aten.chunk.default,
    aten.view.default,
    aten.reshape.default,
    aten.permute.default,
    aten.transpose.int,
    aten.flatten.using_ints,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.slice.Tensor,
}


def in_single(output: Any) -> Any:
    """Return an output with its tensors of half precision in single precision."""
    return tree_map_only(torch.Tensor, _in_single, output)


def _in_single(y: torch.Tensor) -> torch.Tensor:
    return y.float() if y.dtype in (torch.bfloat16, torch.float16) else y


def in_half_precision(graph: GraphModule, dtype: torch.dtype, more: Set[Any] = frozenset()) -> None:
    """Compute convolutions and what lies between them in `dtype`; the outputs stay as they were.

    Pools over all voxels and linear layers, the head of a network, stay in single precision.

    Args:
        more: Further functions that take half precision.
    """
    for module in graph.modules():
        if isinstance(module, FusedConv):
            module.to(dtype)
    for node in list(graph.graph.nodes):
        if node.target is aten._assert_tensor_metadata.default:
            graph.graph.erase_node(node)  # of what was exported in single precision
    casts: dict[tuple[Node, torch.dtype], Node] = {}
    held: dict[Node, torch.dtype] = {}
    for node in list(graph.graph.nodes):
        value = node.meta.get("val")
        floating = isinstance(value, torch.Tensor) and value.dtype == torch.float32
        if node.op == "output" or (node.op in ("call_function", "call_module") and node.users):
            half = (node.target in more or _takes_half(graph, node)) and floating
            wanted = dtype if half else torch.float32
            for source in node.all_input_nodes:
                if held.get(source, wanted) != wanted:
                    node.replace_input_with(source, _cast(graph, casts, source, wanted))
            if floating:
                held[node] = wanted
        elif floating:
            held[node] = torch.float32


def _takes_half(graph: GraphModule, node: Node) -> bool:
    if node.op == "call_module":
        return isinstance(graph.get_submodule(str(node.target)), FusedConv)
    return node.target in HALF


def _cast(
    graph: GraphModule, casts: dict[tuple[Node, torch.dtype], Any], node: Node, dtype: torch.dtype
) -> Node:
    if (node, dtype) not in casts:
        with graph.graph.inserting_after(node):
            new = graph.graph.call_function(aten.to.dtype, (node, dtype))
        new.meta = {"val": node.meta["val"].to(dtype)}
        casts[node, dtype] = new
    return casts[node, dtype]
