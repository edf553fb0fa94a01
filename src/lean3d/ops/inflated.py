"""Dense 3D convolutions with depth padded by its border slices.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.ops.fast import conv3d, is_exposed
from lean3d.ops.leaf import Leaf
from lean3d.ops.padding import Pads, by_conv3d, pad_or_crop

__all__ = ["InflatedConv3d", "InflatedConvTranspose3d", "PaddedConv3d", "padded"]

NONE = (0, 0)


def padded(x_BCDHW: Tensor, pads: Pads, depth_mode: str, plane_mode: str) -> Tensor:
    """Pad or crop along depth by one mode, and along height and width by another."""
    x = pad_or_crop(x_BCDHW, (pads[0], NONE, NONE), depth_mode)
    return pad_or_crop(x, (NONE, *pads[1:]), plane_mode)


class InflatedConv3d(Leaf, nn.Conv3d):
    """nn.Conv3d with its own padding along depth.

    Args:
        pads: (before, after) along D, H, W; negative along D crops.
        pad: "replicate" or "zeros" along depth.
        plane_mode: Of the padding along H and W, as nn.Conv3d's `padding_mode`.
        settings: Of nn.Conv3d, without padding.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W').
    Cost: C * C' * depth * k * k / groups multiply-adds per output voxel.
    """

    def __init__(self, *, pads: Pads, pad: str, plane_mode: str, **settings: Any):
        super().__init__(**settings)
        self.pads, self.pad, self.plane_mode = pads, pad, plane_mode

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        x = pad_or_crop(x_BCDHW, (self.pads[0], NONE, NONE), self.pad)
        inside, rest = by_conv3d((NONE, *self.pads[1:]), self.plane_mode)
        size: Any = (self.stride, inside, self.dilation, self.groups)
        return conv3d(pad_or_crop(x, rest, self.plane_mode), self.weight, self.bias, *size)

    def plain(self) -> nn.Conv3d:
        """Use nn.Conv3d itself, if its own padding is equal and safe."""
        first = tuple(before for before, _ in self.pads)
        equal = all(before == after >= 0 for before, after in self.pads)
        modes = {self.plane_mode} | ({self.pad} if first[0] else set())
        exposed = is_exposed(self.in_channels, self.stride, first)  # type: ignore[arg-type]
        if not equal or modes != {"zeros"} or exposed:
            return self
        size: dict[str, Any] = dict(
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=first,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias is not None,
            device="meta",
            dtype=self.weight.dtype,
        )
        conv = nn.Conv3d(self.in_channels, self.out_channels, **size)
        conv.weight = self.weight
        return conv

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, pads={self.pads}, depth_pad={self.pad!r}"


class InflatedConvTranspose3d(Leaf, nn.ConvTranspose3d):
    """nn.ConvTranspose3d that replicates the border slices before it, and crops after.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.ConvTranspose3d would give.
    """

    def forward(self, x_BCDHW: Tensor, output_size: list[int] | None = None) -> Tensor:
        more: Any = self.output_padding
        if output_size is not None:
            settings: Any = (self.stride, self.padding, self.kernel_size, 3, self.dilation)
            more = tuple(self._output_padding(x_BCDHW, list(output_size), *settings))
        span, pad = self.dilation[0] * (self.kernel_size[0] - 1), int(self.padding[0])
        # how many slices beyond the end a border output uses
        reach = -(-(span + more[0]) // self.stride[0])
        end = span + 1 + more[0] - 2 * pad
        depth = (x_BCDHW.shape[-3] - 1) * self.stride[0] + end
        x = pad_or_crop(x_BCDHW, ((reach, reach), NONE, NONE), "replicate")
        size: Any = (self.stride, self.padding, more, self.groups, self.dilation)
        y = F.conv_transpose3d(x, self.weight, self.bias, *size)
        return y.narrow(-3, reach * self.stride[0], depth)


class PaddedConv3d(Leaf):
    """An operator after the explicit padding of an inflated convolution, separate along depth.

    Args:
        operator: Takes padded volumes.
        pads: (before, after) along D, H, W; negative amounts crop.
        depth_mode: "replicate" or "zeros" along depth.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W').
    """

    def __init__(self, operator: nn.Module, pads: Pads, depth_mode: str, plane_mode: str):
        super().__init__()
        self.operator, self.pads = operator, pads
        self.depth_mode, self.plane_mode = depth_mode, plane_mode

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        return self.operator(padded(x_BCDHW, self.pads, self.depth_mode, self.plane_mode))

    def extra_repr(self) -> str:
        return f"pads={self.pads}, depth_pad={self.depth_mode!r}"
