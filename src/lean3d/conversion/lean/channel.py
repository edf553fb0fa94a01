"""Factorises a 3D convolution into a 1x1x1 and a depthwise one, by SVD of its filters.

Paper: Tran et al. (CSN), arXiv:1904.02811, Sec 3.2 and 3.4
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.base import Lean, place
from lean3d.conversion.lean.factor import Spectrum
from lean3d.conversion.methods import register_method
from lean3d.errors import ConversionError
from lean3d.ops import ChannelSeparatedConv3d

__all__ = ["ChannelSeparated"]


@register_method(
    {"csn_ip": {}, "csn_ir": {"mode": "ir"}},
    "a 1x1x1 and a depthwise kernel; with ir the latter alone (CSN)",
)
@dataclass(frozen=True)
class ChannelSeparated(Lean[ChannelSeparatedConv3d]):
    """Replace 3D convolutions by a 1x1x1 and a depthwise one ("ip"), or a depthwise one ("ir").

    "ip" keeps of each filter the best product of a channel mixture and a local kernel. "ir"
    keeps the taps on the filter's own channel and drops all others: its initial weights are a poor
    approximation and have to be trained. As in the paper the first convolution stays.

    Args:
        group_width: Channels per group of the k x k x k convolution; with "ip" the rank of each
            group, exact when there are as many as inputs.
        stem: Separate the first convolution of a network too.
    """

    mode: Literal["ip", "ir"] = "ip"
    group_width: int = 1
    stem: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("ip", "ir") or self.group_width < 1:
            raise ConversionError(
                f"ChannelSeparated: mode is 'ip' or 'ir' and group_width at least 1, got {self}"
            )

    @property
    def takes_stem(self) -> bool:
        return self.stem

    def takes(self, conv: nn.Conv3d) -> bool:
        wide = conv.in_channels // conv.groups > self.group_width
        return prod(conv.kernel_size) > 1 and wide

    def build(self, conv: nn.Conv3d, **like: object) -> ChannelSeparatedConv3d:
        options: Any = dict(mode=self.mode, group_width=self.group_width)
        return ChannelSeparatedConv3d(**self.arguments(conv, like), **options)

    def fill(
        self, operator: ChannelSeparatedConv3d, kernel: Tensor, bias: nn.Parameter | None
    ) -> Tensor:
        place(operator.local, "bias", bias)
        fill = self._own_channels if self.mode == "ir" else self._mixtures
        return fill(operator, kernel)

    def _mixtures(self, operator: ChannelSeparatedConv3d, kernel: Tensor) -> Tensor:
        width, groups, size = self.group_width, kernel.shape[0], kernel.shape[3:]
        blocks = kernel.unflatten(1, (-1, width)).flatten(0, 1)  # (G * O / w, w, I, k, k, k)
        rows = blocks.movedim(2, -1).flatten(1, -2)
        left, right = Spectrum(rows).truncate(width)
        local = left.unflatten(1, (width, -1)).transpose(2, 3)
        place(operator.local, "weight", local)
        place(operator.pointwise, "weight", right)
        fitted = (left @ right).unflatten(1, (width, *size)).movedim(-1, 2)
        return fitted.unflatten(0, (groups, -1)).flatten(1, 2)

    def _own_channels(self, operator: ChannelSeparatedConv3d, kernel: Tensor) -> Tensor:
        local = operator.local
        rows = kernel[0].unflatten(0, (local.groups, -1))
        own = [rows[g, :, g * self.group_width :][:, : self.group_width] for g in range(len(rows))]
        place(local, "weight", torch.stack(own))
        fitted = torch.zeros_like(rows)
        for g, block in enumerate(own):
            fitted[g, :, g * self.group_width : (g + 1) * self.group_width] = block
        return fitted.flatten(0, 1)[None]

    def choices(self, conv: nn.Conv3d) -> list[Lean[ChannelSeparatedConv3d]]:
        most = conv.in_channels if self.mode == "ir" else conv.out_channels // conv.groups
        widths = [w for w in range(1, conv.in_channels // conv.groups) if most % w == 0]
        return [replace(self, group_width=width) for width in widths]
