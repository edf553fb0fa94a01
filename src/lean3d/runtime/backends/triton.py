"""Backends that run every convolution on a GPU by the fastest of cuDNN and Triton.

The sum and the ReLU after a convolution are in its kernel, or with its bias in one pass; those
after a norm that could not be fused are in one pass with it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from lean3d.kernels import reason, scale_add_relu
from lean3d.runtime.captured import Captured
from lean3d.runtime.fusion import (
    CONVOLUTIONS,
    conv_arguments,
    drop_dropout,
    fuse_activations,
    fuse_sums,
    make_functional,
    nodes,
    replace_node,
    start_in_channels_last,
)
from lean3d.runtime.gpu_conv import GpuACS, GpuConv
from lean3d.runtime.graph import add_constant, constant, finish, is_constant
from lean3d.runtime.half import in_half_precision
from lean3d.runtime.source import Runner, Source, Unavailable, register_backend
from lean3d.runtime.views_graph import views_of

__all__ = ["triton", "triton_cuda_graph"]

aten = torch.ops.aten


@register_backend("triton", "float32", "bfloat16")
def triton(source: Source) -> Runner:
    """The exported graph, channels-last; each kernel is the fastest measured for its shape."""
    for x in source.arguments:
        if (why := reason(x)) is not None:
            raise Unavailable(why)
    graph = source.graph.copy()
    make_functional(graph)
    drop_dropout(graph)
    if not _replace_convolutions(graph):
        raise Unavailable("the network has no convolution with constant weights")
    fuse_activations(graph)
    fuse_sums(graph, with_relu=False)
    _fuse_norms(graph)
    if source.precision != "float32":
        in_half_precision(graph, source.dtype, {_apply})
    start_in_channels_last(graph)
    finish(graph)
    return graph


@register_backend("triton_cuda_graph", "float32", "bfloat16")
def triton_cuda_graph(source: Source) -> Runner:
    """The graph of `triton`, launched as a whole; recorded again for a new size."""
    if any(x.device.type != "cuda" for x in source.arguments):
        raise Unavailable("CUDA graphs run on a CUDA device")
    return Captured(triton(source))


def _replace_convolutions(graph: GraphModule) -> int:
    count = 0
    for node in nodes(graph):
        if (views := views_of(graph, node)) is not None:
            own = (views.stride, views.dilation, views.split, views.pads)
            module: GpuConv = GpuACS(views.weight, views.bias, *own)
            _call(graph, node, module, views.x)
            count += 1
    for node in nodes(graph):
        if node.target not in CONVOLUTIONS or not node.users:
            continue
        x, weight, bias, *shape = conv_arguments(node, False)[:7]
        constants = is_constant(weight) and (bias is None or is_constant(bias))
        if not constants or not isinstance(x, Node) or node.meta["val"].dtype != torch.float32:
            continue
        own_bias = None if bias is None else constant(graph, bias)
        _call(graph, node, GpuConv(constant(graph, weight), own_bias, *shape), x)
        count += 1
    return count


def _call(graph: GraphModule, node: Node, module: GpuConv, x: Node) -> None:
    name = f"gpu_{node.name}"
    graph.add_module(name, module)
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(name, (x,))
    new.meta = node.meta
    parts = node.args[0] if node.target is aten.cat.default else []
    replace_node(node, new)
    for part in parts:  # type: ignore[union-attr]
        graph.graph.erase_node(part)  # type: ignore[arg-type]


def _fuse_norms(graph: GraphModule) -> None:
    """Make a batch norm, the sum after it and the ReLU after that one call."""
    for node in nodes(graph):
        found = _norm(graph, node) or _sum(node)
        if found is None:
            continue
        x, scale, shift, total = found
        last = node
        after = _only_reader(last)
        if total is None and after is not None and _sum(after) is not None:
            first, second = after.args[:2]
            last, total = after, second if first is node else first
            after = _only_reader(last)
        relu = after is not None and after.target is aten.relu.default
        last = after if relu and after is not None else last
        if node.target is aten.add.Tensor and last is node:
            continue
        with graph.graph.inserting_before(last):
            new = graph.graph.call_function(_apply, (x, scale, shift, total, relu))
        new.meta = last.meta
        last.replace_all_uses_with(new)


def _apply(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, total: Tensor | None, relu: bool
) -> Tensor:
    return scale_add_relu(x, scale, shift, total, relu=relu)


def _only_reader(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _sum(node: Node) -> tuple[Any, ...] | None:
    """Return the parts of a sum of two maps."""
    if node.target is not aten.add.Tensor or len(node.args) != 2 or node.kwargs:
        return None
    values = [n.meta.get("val") if isinstance(n, Node) else None for n in node.args]
    first, second = values
    if first is None or second is None or first.shape != second.shape or first.ndim < 3:
        return None
    if first.dtype != second.dtype or first.dtype != torch.float32:
        return None
    return node.args[0], None, None, node.args[1]


def _norm(graph: GraphModule, node: Node) -> tuple[Any, ...] | None:
    """Return what a batch norm in eval mode multiplies by and adds, as constants."""
    if node.target is not aten.batch_norm.default:
        return None
    x, weight, bias, mean, var, training, _, epsilon = node.args[:8]
    parts = [weight, bias, mean, var]
    if training or not all(part is None or is_constant(part) for part in parts):
        return None
    held: list[Any] = [None if p is None else constant(graph, p) for p in parts]  # type: ignore[arg-type]
    gain, offset, center, spread = held
    scale = (spread + epsilon).rsqrt() * (1 if gain is None else gain)
    shift = (0 if offset is None else offset) - center * scale
    made = []
    for part, value in (("scale", scale), ("shift", shift)):
        with graph.graph.inserting_before(node):
            name = add_constant(graph, f"{node.name}_{part}", value)
            made.append(graph.graph.get_attr(name))
    return x, *made, None
