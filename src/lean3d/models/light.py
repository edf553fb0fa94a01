"""Common parts of the light networks: convolution with batch norm, named stages, pooled head.

Axes: B batch, C channels, T time (D, depth, for volumes), H height, W width.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from lean3d.models.blocks import Conv
from lean3d.shape import Triple, check_axes

__all__ = ["LIGHT", "Chain", "classifier", "conv_norm"]

# the paper of all light networks, and the clip D3D counts them on
LIGHT = "D3D, arXiv:2009.14639, Table 5", (1, 3, 16, 112, 112)


class Chain(nn.Sequential):
    """Named stages one after another, behind a check of the axes."""

    def __init__(self, in_channels: int, stages: Mapping[str, nn.Module]):
        super().__init__(OrderedDict(stages))
        self.in_channels = in_channels

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        check_axes(x_BCTHW, f"B C={self.in_channels} T H W", self)
        return super().forward(x_BCTHW)


def conv_norm(
    conv: Conv,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int | Triple = 1,
    groups: int = 1,
    act: Callable[[], nn.Module] | None = nn.ReLU,
) -> list[nn.Module]:
    """A padded convolution without bias, batch norm, and the activation if there is one."""
    size = dict(stride=stride, padding=kernel // 2, groups=groups, bias=False)
    layers = [conv(in_channels, out_channels, kernel, **size), nn.BatchNorm3d(out_channels)]
    return layers if act is None else [*layers, act()]


def classifier(channels: int, num_classes: int, dropout: float = 0.2) -> dict[str, nn.Module]:
    """The last stages of a Chain: the mean over all positions, dropout, one linear layer."""
    head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
    return {"pool": nn.AdaptiveAvgPool3d(1), "flatten": nn.Flatten(), "classifier": head}
