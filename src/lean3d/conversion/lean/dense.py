"""Dense 3D convolutions: which modules are one, their arguments, and their own padding.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from lean3d.conversion.lean.causal import made_causal
from lean3d.errors import ConversionError
from lean3d.ops import CausalConv3d
from lean3d.ops.base import Conv3dLike
from lean3d.ops.fast_gradients import DepthwiseConv3d
from lean3d.ops.inflated import InflatedConv3d, PaddedConv3d

__all__ = [
    "check_dense",
    "is_dense",
    "is_dense_or_causal",
    "own_padding",
    "refusal",
    "resized",
    "settings",
]


def own_padding(conv: nn.Conv3d, operator: nn.Module) -> nn.Module:
    """Return the operator with the padding that `conv` does by itself, if any: explicit or causal.

    Raises:
        ConversionError: the operator has no causal form, and `conv` is causal.
    """
    if isinstance(conv, CausalConv3d):
        return made_causal(operator, conv)
    if not isinstance(conv, InflatedConv3d):
        return operator
    return PaddedConv3d(operator, conv.pads, conv.pad, conv.plane_mode)


def settings(conv: nn.Conv3d) -> dict[str, Any]:
    """Return the arguments with which an operator replaces `conv`, except its own padding."""
    padding: Any = conv.padding
    if isinstance(conv, CausalConv3d) and not isinstance(padding, str):
        padding = (0, *padding[1:])
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
    # also of a class that code was put before
    kinds = nn.Conv3d, InflatedConv3d, CausalConv3d, DepthwiseConv3d
    known = {(k.forward, k._conv_forward) for k in kinds}
    if (kind.forward, kind._conv_forward) not in known:
        return "its forward is its own; leave it out with where="
    return ""


def is_dense(module: object) -> bool:
    """Whether it is a dense 3D convolution, and not one of our operators."""
    return isinstance(module, nn.Conv3d) and not isinstance(module, Conv3dLike)


def is_dense_or_causal(module: object) -> bool:
    """Whether it convolves with one kernel that no other operator made."""
    return is_dense(module) or type(module) is CausalConv3d


def resized(conv: Any, in_channels: int, out_channels: int, **like: Any) -> Any:
    """Return a convolution of the same kind with other channels, its weights not filled.

    One in groups has fewer groups of as many channels.

    Args:
        like: device and dtype.

    Raises:
        ValueError: the channels are not those of whole groups.
    """
    given = settings(conv) | dict(in_channels=in_channels, out_channels=out_channels)
    if conv.groups > 1:
        each = conv.in_channels // conv.groups
        if in_channels % each:
            raise ValueError(f"{in_channels} channels are no multiple of a group's {each}")
        given["groups"] = in_channels // each
    if isinstance(conv, InflatedConv3d):
        given |= dict(pads=conv.pads, pad=conv.pad, plane_mode=conv.plane_mode)
        return InflatedConv3d(**given, **like)
    if not isinstance(conv, CausalConv3d):
        return nn.Conv3d(**given, **like)
    past = None if conv.padding == "same" else conv.past
    return CausalConv3d(**given, **like, past=past, first=conv.first)


def check_dense(conv: Any) -> None:
    """Raise ConversionError unless `conv` is a 3D convolution that can be fitted."""
    if not is_dense(conv):
        raise ConversionError(f"decompose takes a dense nn.Conv3d, got {type(conv).__name__}")
    if why := refusal(conv):
        raise ConversionError(f"{type(conv).__name__} cannot be decomposed: {why}")
