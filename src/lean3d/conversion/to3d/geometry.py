"""3D settings along depth for modules of known 2D settings: those of height, unless depth is kept.

Axes: D depth, H height, W width.
"""

from typing import Any

from torch import nn

from lean3d.conversion.to3d.base import Site
from lean3d.conversion.to3d.merged.sides import along_depth, plain
from lean3d.shape import Triple

__all__ = [
    "conv_arguments",
    "every_axis",
    "isotropic",
    "like_height",
    "pair",
    "transposed_arguments",
]

Depth = tuple[int, int, int, int]  # kernel, stride, padding, dilation along D


def pair(value: object) -> tuple[Any, Any]:
    """Return (height, width) of a setting given once or twice."""
    if isinstance(value, (tuple, list)):
        height, width = value if len(value) == 2 else (value[0], value[0])
        return (height, width)
    return (value, value)


def isotropic(value: object) -> tuple[Any, Any, Any]:
    """Return (depth, height, width) of a 2D setting, with depth as height, or as height carries."""
    height, width = pair(value)
    return (along_depth(height), plain(height), plain(width))


def like_height(conv: nn.Conv2d | nn.ConvTranspose2d, site: Site) -> Depth:
    """Return kernel, stride, padding and dilation along depth.

    If depth is kept the stride is 1, and a kernel whose padding would then change the depth is
    one voxel deep.
    """
    padding = 0 if isinstance(conv.padding, str) else conv.padding[0]
    kernel, stride, dilation = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
    if not site.keep:
        return kernel, stride, padding, dilation
    same = 2 * padding == dilation * (kernel - 1)
    return (kernel, 1, padding, dilation) if same else (1, 1, 0, 1)


def conv_arguments(conv: nn.Conv2d, depth: Depth) -> dict[str, Any]:
    """Return the 3D operator's arguments: those of the 2D one, `depth` in front, on meta."""
    kernel, stride, pad, dilation = depth
    padding: str | Triple = "same"
    if conv.padding != "same":
        height, width = (0, 0) if isinstance(conv.padding, str) else conv.padding
        padding = (pad, height, width)
    return dict(
        in_channels=conv.in_channels,
        out_channels=conv.out_channels,
        kernel_size=(kernel, *conv.kernel_size),
        stride=(stride, *conv.stride),
        padding=padding,
        dilation=(dilation, *conv.dilation),
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device="meta",
        dtype=conv.weight.dtype,
    )


def transposed_arguments(conv: nn.ConvTranspose2d, depth: Depth, site: Site) -> dict[str, Any]:
    """Return arguments of the 3D transposed operator; if depth is kept, without output padding."""
    kernel, stride, pad, dilation = depth
    return dict(
        in_channels=conv.in_channels,
        out_channels=conv.out_channels,
        kernel_size=(kernel, *conv.kernel_size),
        stride=(stride, *conv.stride),
        padding=(pad, *conv.padding),
        output_padding=(0 if site.keep else conv.output_padding[0], *conv.output_padding),
        groups=conv.groups,
        bias=conv.bias is not None,
        dilation=(dilation, *conv.dilation),
        padding_mode=conv.padding_mode,
        device="meta",
        dtype=conv.weight.dtype,
    )


def every_axis(index: object) -> list[Any]:
    """Return an index of a (B, C, H, W) tensor with ellipsis and omitted axes written as `:`."""
    index = list(index) if isinstance(index, tuple) else [index]
    at = index.index(Ellipsis) if Ellipsis in index else len(index)
    return [*index[:at], *[slice(None)] * (4 - len(index) + (at < len(index))), *index[at + 1 :]]
