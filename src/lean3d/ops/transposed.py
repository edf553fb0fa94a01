"""Transposed 2D kernels on one plane of a volume, or on all three.

A transposed convolution with stride s also enlarges the axis its kernel does not extend along;
there every output takes the nearest input, so a volume that is constant along that axis stays so.

Axes: B batch, C channels, D depth, H height, W width. View 0 has no extent along D (axial),
view 1 none along H (coronal), view 2 none along W (sagittal).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.ops.base import Holds4d, as_kernel, pad_or_crop, split_channels
from lean3d.ops.views import LearntViews
from lean3d.shape import Triple, check_axes, sizes, triple

__all__ = [
    "ACSConvTranspose3d",
    "MeanACSConvTranspose3d",
    "PlanarConvTranspose3d",
    "SoftACSConvTranspose3d",
]


class PlaneConvTranspose3d(Holds4d):
    """The arguments of nn.ConvTranspose3d over a 2D kernel (C, C'/groups, k, k).

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.ConvTranspose3d would give.
    Cost: C * C' * k * k / groups multiply-adds per input voxel and view.
    """

    plane: tuple[int, int] = (1, 2)

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
    ):
        super().__init__()
        who = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise LeanError(
                f"{who}: channels must be multiples of groups, got {in_channels}, "
                f"{out_channels}, {groups=}"
            )
        if padding_mode != "zeros":
            raise LeanError(f"{who}: padding_mode must be 'zeros', got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = triple(kernel_size, "kernel_size"), triple(stride, "stride")
        self.padding, self.dilation = triple(padding, "padding"), triple(dilation, "dilation")
        self.output_padding = triple(output_padding, "output_padding")
        self.padding_mode = padding_mode
        self._check_sizes(who)
        size = [self.kernel_size[axis] for axis in self.plane]
        like = dict(device=device, dtype=dtype)
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels // groups, *size, **like))
        self.bias = nn.Parameter(torch.empty(out_channels, **like)) if bias else None
        self.reset_parameters()

    def _check_sizes(self, who: str) -> None:
        if min(*self.kernel_size, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise LeanError(
                f"{who}: kernel_size, stride and dilation must be at least 1, padding at least 0, "
                f"got {self.kernel_size}, {self.stride}, {self.dilation}, {self.padding}"
            )
        for more, stride, dilation in zip(
            self.output_padding, self.stride, self.dilation, strict=True
        ):
            if not 0 <= more < max(stride, dilation):
                raise LeanError(
                    f"{who}: output_padding must be smaller than stride or dilation, got "
                    f"{self.output_padding}"
                )

    def reset_parameters(self) -> None:
        """The initialisation of nn.ConvTranspose2d."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def one_view(self, x_BCDHW: Tensor, weight: Tensor, view: int, groups: int) -> Tensor:
        """Transpose a 2D kernel across one plane; the third axis takes the nearest input."""
        flat = tuple(1 if axis == view else step for axis, step in enumerate(self.stride))
        dilation = tuple(1 if axis == view else step for axis, step in enumerate(self.dilation))
        kernel = as_kernel(weight, view)
        y = F.conv_transpose3d(x_BCDHW, kernel, None, flat, groups=groups, dilation=dilation)
        pads = [(0, 0) if axis == view else self._pads(kernel, axis) for axis in range(3)]
        y = pad_or_crop(y, (pads[0], pads[1], pads[2]))
        return self._nearest(y, view)

    def _pads(self, kernel: Tensor, axis: int) -> tuple[int, int]:
        """What to add to a full transposed convolution along an axis; negative: what to cut."""
        missing = self.dilation[axis] * (self.kernel_size[axis] - sizes(kernel)[2 + axis])
        before = missing // 2 - self.padding[axis]
        after = missing - missing // 2 - self.padding[axis] + self.output_padding[axis]
        return before, after

    def _nearest(self, y_BCDHW: Tensor, axis: int) -> Tensor:
        """Repeat along `axis` so that each output has the input whose kernel is centred nearest."""
        stride, pad = self.stride[axis], self.padding[axis]
        span = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        before = -(-(span - stride) // 2) - pad
        after = span - stride - 2 * pad + self.output_padding[axis] - before
        if stride > 1:
            y_BCDHW = y_BCDHW.repeat_interleave(stride, dim=2 + axis)
        pads: Any = [(0, 0), (0, 0), (0, 0)]
        pads[axis] = before, after
        return pad_or_crop(y_BCDHW, pads, "replicate")

    def check(self, x: Tensor) -> None:
        check_axes(x, f"B C={self.in_channels} D H W", self)

    def add_bias(self, y_BCDHW: Tensor) -> Tensor:
        return y_BCDHW if self.bias is None else y_BCDHW + self.bias.view(-1, 1, 1, 1).to(y_BCDHW)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}, padding={self.padding}"
        text += f", output_padding={self.output_padding}, dilation={self.dilation}"
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")


class PlanarConvTranspose3d(PlaneConvTranspose3d):
    """Transposed convolution without extent along one axis.

    Args:
        axis: The axis the kernel does not extend along: 0 depth, 1 height, 2 width.
    """

    def __init__(self, *arguments, axis: int = 0, **more):
        if axis not in (0, 1, 2):
            raise LeanError(f"{type(self).__name__}: axis is 0, 1 or 2, got {axis!r}")
        self.plane = ((1, 2), (0, 2), (0, 1))[axis]
        super().__init__(*arguments, **more)
        self.axis = axis

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        self.check(x_BCDHW)
        return self.add_bias(self.one_view(x_BCDHW, self.weight, self.axis, self.groups))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, axis={self.axis}"


class ACSConvTranspose3d(PlaneConvTranspose3d):
    """Transposed convolution whose outputs each see one of three planes.

    Args:
        split: Outputs per view, axial, coronal, sagittal, summing to out_channels; None for thirds.
    """

    def __init__(self, *arguments, split: Triple | None = None, **more):
        super().__init__(*arguments, **more)
        self.split = tuple(split_channels(self.out_channels, 3) if split is None else split)
        if len(self.split) != 3 or min(self.split) < 0 or sum(self.split) != self.out_channels:
            raise LeanError(
                f"{type(self).__name__}: split gives the outputs of three views and sums to "
                f"out_channels={self.out_channels}, got {split}"
            )

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        self.check(x_BCDHW)
        outputs, start = [], 0
        for view, channels in enumerate(self.split):
            outputs += self._range(x_BCDHW, view, start, start + channels)
            start += channels
        return self.add_bias(torch.cat(outputs, dim=1))

    def _range(self, x_BCDHW: Tensor, view: int, start: int, stop: int) -> list[Tensor]:
        """Outputs start..stop of one view, group by group (a view may begin or end inside one)."""
        inputs, outputs = self.in_channels // self.groups, self.out_channels // self.groups
        parts = []
        while start < stop:
            group, first = divmod(start, outputs)
            whole = (stop - start) // outputs if first == 0 else 0
            count, last = (whole, outputs) if whole else (1, min(first + stop - start, outputs))
            rows = slice(group * inputs, (group + count) * inputs)
            weight = self.weight[rows, first:last]
            parts.append(self.one_view(x_BCDHW[:, rows], weight, view, count))
            start += count * (last - first)
        return parts

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, split={self.split}"


class MeanACSConvTranspose3d(PlaneConvTranspose3d):
    """Transposed convolution that is the mean of its 2D kernel's three views."""

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        self.check(x_BCDHW)
        views = [self.one_view(x_BCDHW, self.weight, view, self.groups) for view in range(3)]
        return self.add_bias((views[0] + views[1] + views[2]) / 3)


class SoftACSConvTranspose3d(LearntViews, PlaneConvTranspose3d):
    """Transposed convolution that is a softmax-weighted sum of three views, per output channel."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.views = nn.Parameter(self.weight.detach().new_zeros(self.out_channels, 3))

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        self.check(x_BCDHW)
        views = [self.one_view(x_BCDHW, self.weight, view, self.groups) for view in range(3)]
        shares = self.views.softmax(dim=1).to(views[0].dtype).view(-1, 3, 1, 1, 1)
        total = views[0] * shares[:, 0] + views[1] * shares[:, 1] + views[2] * shares[:, 2]
        return self.add_bias(total)
