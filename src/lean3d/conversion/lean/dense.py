"""Dense 3D convolutions: which modules are one, their arguments, and their own explicit padding.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from lean3d.errors import ConversionError
from lean3d.ops.base import Conv3dLike
from lean3d.ops.inflated import InflatedConv3d, PaddedConv3d

__all__ = ["check_dense", "is_dense", "own_padding", "refusal", "settings"]


def own_padding(conv: nn.Conv3d, operator: nn.Module) -> nn.Module:
    """Return the operator after the explicit padding that `conv` does by itself, if any."""
    if not isinstance(conv, InflatedConv3d):
        return operator
    return PaddedConv3d(operator, conv.pads, conv.pad, conv.plane_mode)


def settings(conv: nn.Conv3d) -> dict[str, Any]:
    """Return the arguments with which an operator replaces `conv`, except its explicit padding."""
    padding: Any = conv.padding
    return dict(
        in_channels=conv.in_channels,
        out_channels=conv.out_channels,
        kernel_size=conv.kernel_size,
        stride=conv.stride,
        padding=padding,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    )


def refusal(conv: nn.Conv3d) -> str:
    """Return the reason a convolution cannot be replaced; "" if it can."""
    kind = type(conv)
    if parametrize.is_parametrized(conv) or "weight" not in conv._parameters:
        return (
            "its weight is computed from other parameters (parametrization, weight norm, pruning); "
            "make the weight plain first"
        )
    plain = kind.forward is nn.Conv3d.forward and kind._conv_forward is nn.Conv3d._conv_forward
    if not plain and kind is not InflatedConv3d:
        return "its forward is its own; leave it out with where="
    return ""


def is_dense(module: object) -> bool:
    """Whether it is a dense 3D convolution, and not one of our operators."""
    return isinstance(module, nn.Conv3d) and not isinstance(module, Conv3dLike)


def check_dense(conv: Any) -> None:
    """Raise ConversionError unless `conv` is a 3D convolution that can be fitted."""
    if not is_dense(conv):
        raise ConversionError(f"decompose takes a dense nn.Conv3d, got {type(conv).__name__}")
    if why := refusal(conv):
        raise ConversionError(f"{type(conv).__name__} cannot be decomposed: {why}")
