"""Backend that runs every convolution as one call of oneDNN, activation and residual sum inside.

What it rests on was measured on two AVX-512 cores: in an eager network ReLU, batch norm and sums
cost more than the convolutions, and ATen computes a single small float32 sample by a slow loop.
"""

import torch
from torch.fx import GraphModule, Node

from lean3d.runtime.fusion import (
    CONVOLUTIONS,
    TRANSPOSED,
    conv_arguments,
    drop_dropout,
    fuse_activations,
    fuse_sums,
    make_functional,
    nodes,
    replace_node,
    run_in_place,
    start_in_channels_last,
)
from lean3d.runtime.graph import constant, finish, is_constant
from lean3d.runtime.half import in_half_precision
from lean3d.runtime.packed import PackedConv, can_pack
from lean3d.runtime.source import Runner, Source, Unavailable, register_backend

__all__ = ["onednn"]


@register_backend("onednn", "float32", "bfloat16")
def onednn(source: Source) -> Runner:
    """The exported graph, channels-last, with packed and fused convolutions."""
    graph = source.graph.copy()
    weight = next(filter(is_constant, graph.graph.nodes), None)
    if weight is not None and not can_pack(constant(graph, weight), source.dtype):
        raise Unavailable("oneDNN does not run here")
    make_functional(graph)
    drop_dropout(graph)
    if not _pack_convolutions(graph):
        raise Unavailable("the network has no convolution with constant weights")
    fuse_activations(graph)
    fuse_sums(graph)
    if source.precision != "float32":
        in_half_precision(graph, source.dtype)
    run_in_place(graph)
    start_in_channels_last(graph)
    finish(graph)
    for module in graph.modules():
        if isinstance(module, PackedConv):
            module.settle()
    return graph


def _pack_convolutions(graph: GraphModule) -> int:
    count = 0
    for node in nodes(graph):
        transposed = node.target in TRANSPOSED
        if not transposed and node.target not in CONVOLUTIONS:
            continue
        ours = conv_arguments(node, transposed)
        x, weight, bias = ours[:3]
        constants = is_constant(weight) and (bias is None or is_constant(bias))
        if not constants or not isinstance(x, Node) or node.meta["val"].dtype != torch.float32:
            continue
        sizes = [int(getattr(getattr(n, "node", n), "hint", n)) for n in x.meta["val"].shape]
        module = PackedConv(
            constant(graph, weight),
            None if bias is None else constant(graph, bias),
            *(ours[3], ours[4], ours[5], ours[6]),
            sizes=sizes,
            transposed=ours[7] if transposed else None,
        )
        graph.add_module(f"packed_{node.name}", module)
        with graph.graph.inserting_before(node):
            new = graph.graph.call_module(f"packed_{node.name}", (x,))
        new.meta = node.meta
        replace_node(node, new)
        count += 1
    return count
