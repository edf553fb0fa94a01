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
from lean3d.conversion.to3d.acs import ACS, MeanACS, SoftACS, share_out
from lean3d.conversion.to3d.base import Lift
from lean3d.conversion.to3d.planar import Planar
from lean3d.errors import ConversionError
from lean3d.ops import ACSConv3d, MeanACSConv3d, PlanarConv3d, SoftACSConv3d

__all__ = ["fit_views"]


def fit_views(conv: nn.Conv3d, how: Lift) -> Fit:
    """Return the operator of `how` whose dense kernel is nearest to that of `conv`."""
    arguments = {**settings(conv), "dtype": conv.weight.dtype, "device": "cpu"}
    operator = _operator(how, arguments)
    each = {"in_channels": conv.groups, "bias": False, "dtype": torch.float64}
    one_channel = _operator(how, {**arguments, **each})
    weight_OVI = conv.weight.detach().to("cpu", torch.float64).flatten(2).transpose(1, 2)
    layout_OVP = _layout(one_channel)
    kernel_OPI = torch.linalg.pinv(layout_OVP) @ weight_OVI
    place(operator, "weight", kernel_OPI.transpose(1, 2))
    place(operator, "bias", conv.bias)
    return Fit(operator, (layout_OVP @ kernel_OPI).transpose(1, 2).reshape(conv.weight.shape))


def _operator(how: Lift, arguments: dict[str, Any]) -> Any:
    if isinstance(how, ACS):
        split = None if how.split is None else share_out(arguments["out_channels"], how.split)
        return ACSConv3d(**arguments, split=split)
    if isinstance(how, Planar):
        return PlanarConv3d(**arguments, axis=how.axis)
    if isinstance(how, SoftACS):
        return SoftACSConv3d(**arguments)
    if isinstance(how, MeanACS):
        return MeanACSConv3d(**arguments)
    raise ConversionError(f"{type(how).__name__} makes no leaner kernel of one that is 3D already")


def _layout(operator: Any) -> Tensor:
    """Return where each 2D tap goes in 3D, (O, V, P), for an operator with one input."""
    columns = []
    weight = operator.weight.data
    for tap in range(weight[0].numel()):
        weight.zero_().flatten(1)[:, tap] = 1
        columns.append(operator.dense_weight().detach().flatten(1))
    return torch.stack(columns, dim=2)
