"""Rewrites a graph so that a convolution applies the sum and the activation after it.

Axes: B batch, C channels, then one to three spatial axes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from lean3d.ops.memory_layout import channels_last
from lean3d.runtime.graph import guards

__all__ = [
    "CONVOLUTIONS",
    "TRANSPOSED",
    "Activation",
    "FusedConv",
    "conv_arguments",
    "drop_dropout",
    "fuse_activations",
    "fuse_sums",
    "make_functional",
    "nodes",
    "replace_node",
    "run_in_place",
    "start_in_channels_last",
]

Activation = tuple[str, list[Any], str | None]
NONE: Activation = ("none", [], None)


class FusedConv(nn.Module):
    """A convolution with constant weights that applies `activation`; its output is channels-last.

    Called with a second tensor, it adds it to its output before the activation, and may write the
    result there.

    Args:
        weight: (C', C/groups, ...), shared with the network.

    Attributes:
        transposed: The output padding of a transposed convolution.
        activation: Name, scalars and algorithm of oneDNN's activation.
    """

    transposed: tuple[int, ...] | None
    activation: Activation

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor | None
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.transposed, self.activation = None, NONE

    def per_axis(self, values: Sequence[int]) -> tuple[int, ...]:
        """Return a number for each spatial axis, where there may be one for all."""
        return tuple(values) * (self.weight.ndim - 2) if len(values) == 1 else tuple(values)

    def takes(self, activation: Activation) -> bool:
        """Whether it can apply an activation."""
        return True


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


def _activation(node: Node) -> Activation | None:
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


def nodes(graph: GraphModule) -> list[Node]:
    return list(graph.graph.nodes)


def replace_node(node: Node, by: Node) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def make_functional(graph: GraphModule) -> None:
    """Undo in-place functions whose input has no other reader."""
    for node in nodes(graph):
        if node.target in FUNCTIONAL:
            source = node.args[0]
            if isinstance(source, Node) and len(source.users) == 1 and _is_fresh(source):
                node.target = FUNCTIONAL[node.target]


def drop_dropout(graph: GraphModule) -> None:
    """The network is in eval mode."""
    for node in nodes(graph):
        if node.target is aten.dropout.default and node.args[2] is False:
            replace_node(node, node.args[0])  # type: ignore[arg-type]


def _is_fresh(node: Node) -> bool:
    return node.op == "call_module" or node.target in FRESH


def fused(graph: GraphModule, node: object) -> FusedConv | None:
    if not isinstance(node, Node) or node.op != "call_module":
        return None
    module = graph.get_submodule(str(node.target))
    return module if isinstance(module, FusedConv) else None


def conv_arguments(node: Node, transposed: bool) -> list[Any]:
    """Input, weight, bias, stride, padding, dilation, groups, output padding."""
    names = ["input", "weight", "bias", "stride", "padding"]
    names += ["output_padding", "groups", "dilation"] if transposed else ["dilation", "groups"]
    usual = dict(bias=None, stride=[1], padding=[0], output_padding=[0], dilation=[1], groups=1)
    given = usual | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    order = ["input", "weight", "bias", "stride", "padding", "dilation", "groups", "output_padding"]
    return [given[name] for name in order]


def fuse_activations(graph: GraphModule) -> None:
    """Let convolutions apply the activation after them, also that after their concatenation."""
    for node in nodes(graph):
        activation = _activation(node)
        source = node.args[0] if node.args else None
        if activation is None or not isinstance(source, Node) or len(source.users) > 1:
            continue
        parts = source.args[0] if source.target is aten.cat.default else [source]
        assert isinstance(parts, list | tuple)
        modules = [fused(graph, part) for part in parts]
        alone = all(isinstance(part, Node) and len(part.users) == 1 for part in parts)
        free = all(m and m.activation[0] == "none" and m.takes(activation) for m in modules)
        if not alone or not free or len(set(map(id, parts))) < len(parts):
            continue
        for module in modules:
            assert module is not None
            module.activation = activation
        replace_node(node, source)


def fuse_sums(graph: GraphModule, *, with_relu: bool = True) -> None:
    """Let a convolution add its output to a tensor that nothing reads afterwards.

    Args:
        with_relu: Make another sum and the ReLU after it one call, which torch has on a CPU.
    """
    for node in nodes(graph):
        if node.target is not aten.add.Tensor or len(node.args) != 2 or node.kwargs:
            continue
        first, second = node.args
        for conv, total in ((first, second), (second, first)):
            if _fuse_sum(graph, node, conv, total):
                break
        else:
            if with_relu:
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
        replace_node(after, node)


def _fuse_sum(graph: GraphModule, node: Node, conv: Any, total: Any) -> bool:
    module = fused(graph, conv)
    if module is None or module.activation[0] != "none" or module.transposed is not None:
        return False
    if len(conv.users) > 1 or not isinstance(total, Node) or not _can_be_overwritten(total, node):
        return False
    if total.meta["val"].shape != conv.meta["val"].shape or total is conv:
        return False
    if total is conv.args[0]:
        return False  # it would be written while it is read
    # the convolution moves to where the sum was computed
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(conv.target, (conv.args[0], total))
    new.meta = node.meta
    replace_node(node, new)
    graph.graph.erase_node(conv)
    after = next(iter(new.users)) if len(new.users) == 1 else None
    if after is not None and after.target is aten.relu.default:
        module.activation = ("relu", [], None)
        replace_node(after, new)
    return True


def _can_be_overwritten(node: Node, by: Node) -> bool:
    """Whether a tensor is of its own and is read by nothing but copies before `by`."""
    if not _is_fresh(node):
        return False
    order = {other: place for place, other in enumerate(node.graph.nodes)}
    others = [user for user in node.users if user is not by]
    return all(_is_fresh(user) and order[user] < order[by] for user in others)


def run_in_place(graph: GraphModule) -> None:
    """Write sums and activations into an input that nothing reads afterwards."""
    back = {functional: own for own, functional in FUNCTIONAL.items()}
    for node in nodes(graph):
        source = node.args[0] if node.args else None
        if node.target not in back or not isinstance(source, Node):
            continue
        if not _can_be_overwritten(source, node):
            continue
        mine, its = node.meta.get("val"), source.meta.get("val")
        if mine is None or its is None or mine.shape != its.shape or mine.dtype != its.dtype:
            continue
        node.target = back[node.target]


def start_in_channels_last(graph: GraphModule) -> None:
    for node in nodes(graph):
        if node.op == "placeholder" and node.users:
            with graph.graph.inserting_after(node):
                new = graph.graph.call_function(channels_last, (node,))
            for user in list(node.users):
                if user is not new and not guards(user):
                    user.replace_input_with(node, new)
