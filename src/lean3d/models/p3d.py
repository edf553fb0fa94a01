"""Pseudo-3D residual networks: 1x3x3 and 3x1x1 kernels, connected in three alternating ways.

Paper: Qiu et al., Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks,
ICCV 2017, Sec 3; stem, pools and the planar last stage as in the authors' network
Differs from the paper: an odd frame at the end is kept where the authors' pools drop it, so that
any length is accepted. The authors halve the sum in C; the batch norm that follows undoes that.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Sequence
from itertools import cycle

import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.models.blocks import (
    WIDTHS,
    Conv,
    Residual,
    VideoResNet,
    normed,
    projection,
    space_pool,
    stages,
)
from lean3d.models.registry import register_models

__all__ = ["Pseudo3d", "p3d"]

DEPTHS = {63: (3, 4, 6, 3), 131: (3, 4, 23, 3), 199: (3, 8, 36, 3)}
EXPANSION = 4


class Pseudo3d(nn.Module):
    """Space S and time T with batch norm: ReLU of T(S) in form A, S + T in B, S + T(S) in C.

    Shape: (B, C, T, H, W) -> the same.
    """

    def __init__(self, channels: int, form: str, conv: Conv):
        super().__init__()
        self.form = form
        space = conv(channels, channels, (1, 3, 3), 1, (0, 1, 1), bias=False)
        time = conv(channels, channels, (3, 1, 1), 1, (1, 0, 0), bias=False)
        self.space = normed(space, channels)
        self.time = normed(time, channels, relu=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        space = self.space(x_BCTHW)
        time = self.time(x_BCTHW if self.form == "B" else space)
        return F.relu(time if self.form == "A" else space + time)


def _block(in_channels: int, channels: int, stride: int, middle: nn.Module) -> Residual:
    """1x1x1 with the stride, over space alone; `middle`; 1x1x1."""
    step, out_channels = (1, stride, stride), channels * EXPANSION
    first = nn.Conv3d(in_channels, channels, 1, step, bias=False)
    last = nn.Conv3d(channels, out_channels, 1, bias=False)
    return Residual(
        normed(first, channels),
        middle,
        normed(last, out_channels, relu=False),
        downsample=projection(in_channels, out_channels, step),
    )


@register_models(
    {f"p3d_{depth}": dict(depth=depth) for depth in DEPTHS},
    "Pseudo-3D ResNet of {depth} layers: 1x3x3 and 3x1x1, blocks A, B and C alternating",
    "P3D, Qiu et al., ICCV 2017, Sec 3",
    (1, 3, 16, 160, 160),
)
def p3d(
    depth: int,
    *,
    in_channels: int = 3,
    num_classes: int = 400,
    widths: Sequence[int] = WIDTHS,
    conv: Conv = nn.Conv3d,
    forms: str = "ABC",
) -> VideoResNet:
    """P3D ResNet.

    Args:
        conv: The operator of every 1x3x3 and 3x1x1 kernel.
        forms: The forms of alternating blocks; "A" alone is P3D-A ResNet.
    """
    if not forms or set(forms) - set("ABC"):
        raise LeanError(f"forms is made of A, B and C, got {forms!r}")
    turns = cycle(forms)

    def pseudo(in_channels: int, channels: int, stride: int) -> Residual:
        middle = Pseudo3d(channels, next(turns), conv)
        return _block(in_channels, channels, stride, middle)

    def planar(in_channels: int, channels: int, stride: int) -> Residual:
        middle = conv(channels, channels, (1, 3, 3), 1, (0, 1, 1), bias=False)
        return _block(in_channels, channels, stride, normed(middle, channels))

    parts = stages([pseudo] * 3 + [planar], DEPTHS[depth], widths, EXPANSION)
    return VideoResNet(
        _stem(in_channels, widths[0]),
        [*(part.append(_time_pool()) for part in parts[:3]), parts[3]],
        in_channels=in_channels,
        features=widths[-1] * EXPANSION,
        num_classes=num_classes,
    )


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    conv = nn.Conv3d(in_channels, channels, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    return nn.Sequential(*normed(conv, channels), space_pool(), _time_pool())


def _time_pool() -> nn.MaxPool3d:
    """Halves the frames; an unpaired last frame is kept."""
    return nn.MaxPool3d((2, 1, 1), (2, 1, 1), ceil_mode=True)
