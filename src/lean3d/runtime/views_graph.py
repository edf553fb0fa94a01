"""Finds the three convolutions of an ACSConv3d in a graph.

Axes: B batch, C channels, D depth, H height, W width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from lean3d.runtime.fusion import conv_arguments
from lean3d.runtime.graph import constant, is_constant
from lean3d.shape import Triple

__all__ = ["Views", "views_of"]

aten = torch.ops.aten


@dataclass(frozen=True)
class Views:
    """An ACS convolution.

    Args:
        x: Its input in the graph.
        weight: (C', C, k, k).
        split: Outputs of each view.
        pads: Padding of each view along D, H and W.
    """

    x: Node
    weight: Tensor
    bias: Tensor | None
    stride: Triple
    dilation: Triple
    split: Triple
    pads: tuple[Triple, ...]


def views_of(graph: GraphModule, node: Node) -> Views | None:
    """Return the ACS convolution of which a node is the last step, a concatenation, else None."""
    if node.target is not aten.cat.default or len(node.args) < 2 or node.args[1] != 1:
        return None
    parts: Any = node.args[0]
    if not 2 <= len(parts) <= 3 or any(p.target is not aten.conv3d.default for p in parts):
        return None
    calls = [conv_arguments(part, False) for part in parts]
    if not all(_is_plain(part, call, calls[0]) for part, call in zip(parts, calls, strict=True)):
        return None
    kernels = [constant(graph, call[1]) for call in calls]
    planes = _planes(kernels)
    if planes is None:
        return None
    split, pads = [0, 0, 0], [(0, 0, 0)] * 3
    for view, kernel, call in zip(planes, kernels, calls, strict=True):
        split[view], pads[view] = len(kernel), _full(call[4])
    flat = [kernel.squeeze(2 + view) for view, kernel in zip(planes, kernels, strict=True)]
    biases = [constant(graph, call[2]) for call in calls if call[2] is not None]
    return Views(
        calls[0][0],
        torch.cat(flat),
        torch.cat(biases) if biases else None,
        _full(calls[0][3]),
        _full(calls[0][5]),
        (split[0], split[1], split[2]),
        tuple(pads),
    )


def _is_plain(part: Node, call: list[Any], first: list[Any]) -> bool:
    """Whether a convolution with constant weights reads what the first reads, in its steps."""
    x, weight, bias, stride, _, dilation, groups, _ = call
    alike = x is first[0] and stride == first[3] and dilation == first[5]
    has_bias = (bias is None) == (first[2] is None)
    known = is_constant(weight) and (bias is None or is_constant(bias))
    return len(part.users) == 1 and groups == 1 and alike and known and has_bias


def _planes(kernels: list[Tensor]) -> list[int] | None:
    """Return the view of each kernel, if each lacks an extent along another axis, in order."""
    planes = []
    for kernel in kernels:
        flat = [axis for axis, size in enumerate(kernel.shape[2:]) if size == 1]
        if len(flat) != 1:
            return None
        planes.append(flat[0])
    sizes = {tuple(k.squeeze(2 + view).shape[1:]) for k, view in zip(kernels, planes, strict=True)}
    return planes if planes == sorted(set(planes)) and len(sizes) == 1 else None


def _full(values: list[int]) -> Triple:
    depth, height, width = list(values) * 3 if len(values) == 1 else values
    return depth, height, width
