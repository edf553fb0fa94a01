"""Lean forms of a causal convolution: all of their padding in time before the first frame.

Axes: B batch, C channels, T time, H height, W width.
"""

from torch import nn

from lean3d.errors import ConversionError
from lean3d.ops import CausalConv3d
from lean3d.ops.kernel import KernelConv3d

__all__ = ["made_causal"]


def made_causal(operator: nn.Module, conv: CausalConv3d) -> nn.Module:
    """Return an operator whose convolutions over time see no later frame, with its parameters.

    Args:
        operator: A form of `conv`, made without padding in time, or with "same".
        conv: Its frames in front are those of the operator's first convolution over time.

    Raises:
        ConversionError: a part has a kernel over time that is not an nn.Conv3d.
    """
    if isinstance(operator, CausalConv3d):
        return operator
    # one of ours is an nn.Conv3d too, whose weight is no kernel over time
    if isinstance(operator, KernelConv3d):
        if operator.kernel_size[0] > 1 or operator.stride[0] > 1:
            raise ConversionError(f"{type(operator).__name__} has no causal form")
        return operator
    if isinstance(operator, nn.Conv3d):
        return _causal(operator, conv)
    for name, child in list(operator.named_children()):
        setattr(operator, name, made_causal(child, conv))
    return operator


def _causal(part: nn.Conv3d, conv: CausalConv3d) -> nn.Module:
    if part.kernel_size[0] == part.stride[0] == 1:
        return part
    made = CausalConv3d(
        part.in_channels,
        part.out_channels,
        part.kernel_size,  # type: ignore[arg-type]
        part.stride,  # type: ignore[arg-type]
        part.padding,  # type: ignore[arg-type]
        part.dilation,  # type: ignore[arg-type]
        part.groups,
        part.bias is not None,
        part.padding_mode,
        device="meta",
        dtype=part.weight.dtype,
        past=None if part.padding == "same" else conv.past,
        first=conv.first,
    )
    made.weight, made.bias = part.weight, part.bias
    return made
