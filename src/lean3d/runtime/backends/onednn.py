"""Backend that runs every convolution as one call of oneDNN, activation and residual sum inside.

What it rests on was measured on two AVX-512 cores: in an eager network ReLU, batch norm and sums
cost more than the convolutions, and ATen computes a single small float32 sample by a slow loop.

Axes: B batch, C channels, then one to three spatial axes.
"""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from lean3d.runtime.graph import constant, finish, guards, is_constant
from lean3d.runtime.half import in_half_precision
from lean3d.runtime.packed import PackedConv, can_pack
from lean3d.runtime.source import Runner, Source, Unavailable, register_backend
from lean3d.tasks.layout import channels_last

__all__ = ["onednn"]

aten = torch.ops.aten
# function -> its functional form; both have the same arguments
FUNCTIONAL: dict[Any, Any] = {
    aten.relu_.default: aten.relu.default,
    aten.silu_.default: aten.silu.default,
    aten.sigmoid_.default: aten.sigmoid.default,
    aten.hardswish_.default: aten.hardswish.default,
    aten.hardsigmoid_.default: aten.hardsigmoid.default,
    aten.tanh_.default: aten.tanh.default,
    aten.leaky_relu_.default: aten.leaky_relu.default,
    aten.hardtanh_.default: aten.hardtanh.default,
    aten.add_.Tensor: aten.add.Tensor,
    aten._add_relu_.Tensor: aten._add_relu.Tensor,
    aten.dropout_.default: aten.dropout.default,
}
CONVOLUTIONS = {aten.conv1d.default: 1, aten.conv2d.default: 2, aten.conv3d.default: 3}
TRANSPOSED = {aten.conv_transpose2d.input: 2, aten.conv_transpose3d.input: 3}
# their outputs are tensors of their own, and nothing they take is part of their output
FRESH = {
    *CONVOLUTIONS,
    *TRANSPOSED,
    *FUNCTIONAL.values(),
    aten.cat.default,
    aten.max_pool2d.default,
    aten.max_pool3d.default,
    aten.avg_pool2d.default,
    aten.avg_pool3d.default,
    aten.adaptive_avg_pool2d.default,
    aten.adaptive_avg_pool3d.default,
    aten.batch_norm.default,
    aten.mul.Tensor,
    aten.mean.dim,
    aten.linear.default,
} - {aten.dropout.default}


def _activation(node: Node) -> tuple[str, list[Any], str | None] | None:
    """Return oneDNN's name, scalars and algorithm of an activation, None for other functions."""
    names = {
        aten.relu.default: "relu",
        aten.sigmoid.default: "sigmoid",
        aten.silu.default: "swish",
        aten.hardswish.default: "hardswish",
        aten.hardsigmoid.default: "hardsigmoid",
        aten.tanh.default: "tanh",
    }
    if node.op != "call_function":
        return None
    given: list[Any] = [*node.args[1:], *node.kwargs.values()]
    if node.target in names and not given:
        return names[node.target], [], None
    numbers = all(isinstance(value, int | float) for value in given)
    if node.target is aten.leaky_relu.default and numbers and not node.kwargs:
        return "leaky_relu", [float(given[0]) if given else 0.01], None
    if node.target is aten.hardtanh.default and numbers and not node.kwargs:
        low, high = (*given, -1.0, 1.0)[:2] if len(given) != 1 else (given[0], 1.0)
        return "hardtanh", [float(low), float(high)], None
    if node.target is aten.gelu.default and set(node.kwargs) <= {"approximate"}:
        return "gelu", [], str(node.kwargs.get("approximate", "none"))
    return None


@register_backend("onednn", "float32", "bfloat16")
def onednn(source: Source) -> Runner:
    """The exported graph, channels-last, with packed and fused convolutions."""
    graph = source.graph.copy()
    weight = next(filter(is_constant, graph.graph.nodes), None)
    if weight is not None and not can_pack(constant(graph, weight), source.dtype):
        raise Unavailable("oneDNN does not run here")
    _make_functional(graph)
    _drop_dropout(graph)
    if not _pack_convolutions(graph):
        raise Unavailable("the network has no convolution with constant weights")
    _fuse_activations(graph)
    _fuse_sums(graph)
    if source.precision != "float32":
        in_half_precision(graph, source.dtype)
    _run_in_place(graph)
    _start_in_channels_last(graph)
    finish(graph)
    return graph


def _nodes(graph: GraphModule) -> list[Node]:
    return list(graph.graph.nodes)


def _replace(node: Node, by: Node) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def _make_functional(graph: GraphModule) -> None:
    """Undo in-place functions whose input has no other reader."""
    for node in _nodes(graph):
        if node.target in FUNCTIONAL:
            source = node.args[0]
            if isinstance(source, Node) and len(source.users) == 1 and _is_fresh(source):
                node.target = FUNCTIONAL[node.target]


def _drop_dropout(graph: GraphModule) -> None:
    """The network is in eval mode."""
    for node in _nodes(graph):
        if node.target is aten.dropout.default and node.args[2] is False:
            _replace(node, node.args[0])  # type: ignore[arg-type]


def _is_fresh(node: Node) -> bool:
    return node.op == "call_module" or node.target in FRESH


def _packed(graph: GraphModule, node: object) -> PackedConv | None:
    if not isinstance(node, Node) or node.op != "call_module":
        return None
    module = graph.get_submodule(str(node.target))
    return module if isinstance(module, PackedConv) else None


def _pack_convolutions(graph: GraphModule) -> int:
    count = 0
    for node in _nodes(graph):
        transposed = node.target in TRANSPOSED
        if not transposed and node.target not in CONVOLUTIONS:
            continue
        ours = _arguments(node, transposed)
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
        _replace(node, new)
        count += 1
    return count


def _arguments(node: Node, transposed: bool) -> list[Any]:
    """Input, weight, bias, stride, padding, dilation, groups, output padding."""
    names = ["input", "weight", "bias", "stride", "padding"]
    names += ["output_padding", "groups", "dilation"] if transposed else ["dilation", "groups"]
    usual = dict(bias=None, stride=[1], padding=[0], output_padding=[0], dilation=[1], groups=1)
    given = usual | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    order = ["input", "weight", "bias", "stride", "padding", "dilation", "groups", "output_padding"]
    return [given[name] for name in order]


def _fuse_activations(graph: GraphModule) -> None:
    """Let convolutions apply the activation after them, also that after their concatenation."""
    for node in _nodes(graph):
        activation = _activation(node)
        source = node.args[0] if node.args else None
        if activation is None or not isinstance(source, Node) or len(source.users) > 1:
            continue
        parts = source.args[0] if source.target is aten.cat.default else [source]
        assert isinstance(parts, list | tuple)
        modules = [_packed(graph, part) for part in parts]
        alone = all(isinstance(part, Node) and len(part.users) == 1 for part in parts)
        free = all(module and module.activation[0] == "none" for module in modules)
        if not alone or not free or len(set(map(id, parts))) < len(parts):
            continue
        for module in modules:
            assert module is not None
            module.activation = activation
        _replace(node, source)


def _fuse_sums(graph: GraphModule) -> None:
    """Let a convolution add its output to a tensor that nothing reads afterwards."""
    for node in _nodes(graph):
        if node.target is not aten.add.Tensor or len(node.args) != 2 or node.kwargs:
            continue
        first, second = node.args
        for conv, total in ((first, second), (second, first)):
            if _fuse_sum(graph, node, conv, total):
                break
        else:
            _fuse_relu(node)


def _fuse_relu(node: Node) -> None:
    """Sum and ReLU in one pass."""
    after = next(iter(node.users)) if len(node.users) == 1 else None
    values: list[Any] = [n.meta.get("val") for n in node.args if isinstance(n, Node)]
    if after is None or after.target is not aten.relu.default or len(values) < 2:
        return
    first, second = values
    if first.shape == second.shape and first.dtype == second.dtype == torch.float32:
        node.target = aten._add_relu.Tensor
        _replace(after, node)


def _fuse_sum(graph: GraphModule, node: Node, conv: Any, total: Any) -> bool:
    module = _packed(graph, conv)
    if module is None or module.activation[0] != "none" or module.transposed is not None:
        return False
    if len(conv.users) > 1 or not isinstance(total, Node) or not _can_be_overwritten(total, node):
        return False
    if total.meta["val"].shape != conv.meta["val"].shape or total is conv:
        return False
    # the convolution moves to where the sum was computed
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(conv.target, (conv.args[0], total))
    new.meta = node.meta
    _replace(node, new)
    graph.graph.erase_node(conv)
    after = next(iter(new.users)) if len(new.users) == 1 else None
    if after is not None and after.target is aten.relu.default:
        module.activation = ("relu", [], None)
        _replace(after, new)
    return True


def _can_be_overwritten(node: Node, by: Node) -> bool:
    """Whether a tensor is of its own and is read by nothing but copies before `by`."""
    if not _is_fresh(node):
        return False
    order = {other: place for place, other in enumerate(node.graph.nodes)}
    others = [user for user in node.users if user is not by]
    return all(_is_fresh(user) and order[user] < order[by] for user in others)


def _run_in_place(graph: GraphModule) -> None:
    """Write sums and activations into an input that nothing reads afterwards."""
    back = {functional: own for own, functional in FUNCTIONAL.items()}
    for node in _nodes(graph):
        source = node.args[0] if node.args else None
        if node.target not in back or not isinstance(source, Node):
            continue
        if not _can_be_overwritten(source, node):
            continue
        mine, its = node.meta.get("val"), source.meta.get("val")
        if mine is None or its is None or mine.shape != its.shape or mine.dtype != its.dtype:
            continue
        node.target = back[node.target]


def _start_in_channels_last(graph: GraphModule) -> None:
    for node in _nodes(graph):
        if node.op == "placeholder" and node.users:
            with graph.graph.inserting_after(node):
                new = graph.graph.call_function(channels_last, (node,))
            for user in list(node.users):
                if user is not new and not guards(user):
                    user.replace_input_with(node, new)
