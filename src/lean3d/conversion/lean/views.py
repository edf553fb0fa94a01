"""Approximates a 3D convolution by an operator with 2D kernels, by least squares.

Paper: Yang et al. (ACS), arXiv:1911.10477, Sec 3.2. 2D-to-3D conversion is lossless; this is the
opposite direction, for kernels trained in 3D, and drops all taps outside the planes.

Axes: O outputs, I inputs of a group, P taps of the 2D kernel, V taps of the 3D one.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.base import Fit, place
from lean3d.conversion.lean.dense import settings
from lean3d.conversion.to3d.base import To3D

__all__ = ["fit_views", "tap_layout"]


def fit_views(conv: nn.Conv3d, how: To3D) -> Fit:
    """Return the operator of `how` whose dense kernel is nearest to that of `conv`."""
    arguments = {**settings(conv), "dtype": conv.weight.dtype, "device": "cpu"}
    operator: Any = how.operator(arguments)
    each = {"in_channels": conv.groups, "bias": False, "dtype": torch.float64}
    one_channel = how.operator({**arguments, **each})
    weight_OVI = conv.weight.detach().to("cpu", torch.float64).flatten(2).transpose(1, 2)
    layout_OVP = tap_layout(one_channel)
    kernel_OPI = torch.linalg.pinv(layout_OVP) @ weight_OVI
    place(operator, "weight", kernel_OPI.transpose(1, 2))
    place(operator, "bias", conv.bias)
    return Fit(operator, (layout_OVP @ kernel_OPI).transpose(1, 2).reshape(conv.weight.shape))


def tap_layout(operator: Any) -> Tensor:
    """Return where each 2D tap goes in 3D, (O, V, P), for an operator with one input."""
    columns = []
    weight = operator.weight.data
    for tap in range(weight[0].numel()):
        weight.zero_().flatten(1)[:, tap] = 1
        columns.append(operator.dense_weight().detach().flatten(1))
    return torch.stack(columns, dim=2)
