"""Transposed 2D kernels on one plane of a volume, or on all three.

Axes: B batch, C channels, D depth, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.ops.base import split_channels
from lean3d.ops.plane_transposed import PlaneConvTranspose3d
from lean3d.ops.views import LearntViews
from lean3d.shape import Triple
from lean3d.typed import check_arguments

__all__ = [
    "ACSConvTranspose3d",
    "MeanACSConvTranspose3d",
    "PlanarConvTranspose3d",
    "SoftACSConvTranspose3d",
]


class PlanarConvTranspose3d(PlaneConvTranspose3d):
    """Transposed convolution without extent along one axis.

    Args:
        axis: The axis the kernel does not extend along: 0 depth, 1 height, 2 width.

    Raises:
        LeanError: `axis` is not 0, 1 or 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Triple,
        stride: int | Triple = 1,
        padding: int | Triple = 0,
        output_padding: int | Triple = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Triple = 1,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
        *,
        axis: int = 0,
    ):
        if axis not in (0, 1, 2):
            raise LeanError(f"{type(self).__name__}: axis is 0, 1 or 2, got {axis!r}")
        self.plane = ((1, 2), (0, 2), (0, 1))[axis]
        sizes = (kernel_size, stride, padding, output_padding, groups, bias, dilation, padding_mode)
        super().__init__(in_channels, out_channels, *sizes, device=device, dtype=dtype)
        self.axis = axis

    def compute(self, x_BCDHW: Tensor, more: Triple) -> Tensor:
        return self.one_view(x_BCDHW, self.weight, self.axis, self.groups, more)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, axis={self.axis}"


class ACSConvTranspose3d(PlaneConvTranspose3d):
    """Transposed convolution whose outputs each use one of three planes.

    Args:
        split: Outputs per view, axial, coronal, sagittal, summing to out_channels; None for thirds.

    Raises:
        LeanError: `split` does not sum to `out_channels`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Triple,
        stride: int | Triple = 1,
        padding: int | Triple = 0,
        output_padding: int | Triple = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Triple = 1,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
        *,
        split: Triple | None = None,
    ):
        sizes = (kernel_size, stride, padding, output_padding, groups, bias, dilation, padding_mode)
        super().__init__(in_channels, out_channels, *sizes, device=device, dtype=dtype)
        check_arguments(self, split=split)
        self.split = tuple(split_channels(self.out_channels, 3) if split is None else split)
        if len(self.split) != 3 or min(self.split) < 0 or sum(self.split) != self.out_channels:
            raise LeanError(
                f"{type(self).__name__}: split gives the outputs of three views and sums to "
                f"out_channels={self.out_channels}, got {split}"
            )

    def compute(self, x_BCDHW: Tensor, more: Triple) -> Tensor:
        outputs, start = [], 0
        for view, channels in enumerate(self.split):
            outputs += self._range(x_BCDHW, view, start, start + channels, more)
            start += channels
        return torch.cat(outputs, dim=1)

    def _range(
        self, x_BCDHW: Tensor, view: int, start: int, stop: int, more: Triple
    ) -> list[Tensor]:
        """Return outputs start..stop of one view, by group (a view may begin or end inside one)."""
        inputs, outputs = self.in_channels // self.groups, self.out_channels // self.groups
        parts = []
        while start < stop:
            group, first = start // outputs, start % outputs
            whole = (stop - start) // outputs if first == 0 else 0
            count, last = (whole, outputs) if whole else (1, min(first + stop - start, outputs))
            rows = slice(group * inputs, (group + count) * inputs)
            weight = self.weight[rows, first:last]
            parts.append(self.one_view(x_BCDHW[:, rows], weight, view, count, more))
            start += count * (last - first)
        return parts

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, split={self.split}"


class MeanACSConvTranspose3d(PlaneConvTranspose3d):
    """Transposed convolution that is the mean of its 2D kernel's three views."""

    def compute(self, x_BCDHW: Tensor, more: Triple) -> Tensor:
        views = self.all_views(x_BCDHW, more)
        return (views[0] + views[1] + views[2]) / 3


class SoftACSConvTranspose3d(LearntViews, PlaneConvTranspose3d):
    """Transposed convolution that is a softmax-weighted sum of three views, per output channel."""

    def make_views(self, like: dict[str, Any]) -> None:
        self.views = nn.Parameter(torch.zeros(self.out_channels, 3, **like))

    def compute(self, x_BCDHW: Tensor, more: Triple) -> Tensor:
        views = self.all_views(x_BCDHW, more)
        shares = self.views.softmax(dim=1).to(views[0].dtype).view(-1, 3, 1, 1, 1)
        return views[0] * shares[:, 0] + views[1] * shares[:, 1] + views[2] * shares[:, 2]
