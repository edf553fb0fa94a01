"""Transposed 2D kernels on planes of a volume.

A transposed convolution with stride s also enlarges the axis its kernel does not extend along;
there every output uses the nearest input, so a volume that is constant along that axis stays so.

Axes: B batch, C channels, D depth, H height, W width. View 0 has no extent along D (axial),
view 1 none along H (coronal), view 2 none along W (sagittal).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.limits import check_counts, check_sizes
from lean3d.ops.base import Holds4d, as_kernel
from lean3d.ops.padding import pad_or_crop
from lean3d.shape import Triple, check_axes, sizes, triple
from lean3d.typed import check_arguments

__all__ = ["PlaneConvTranspose3d"]


class PlaneConvTranspose3d(Holds4d, nn.ConvTranspose3d):
    """The arguments of nn.ConvTranspose3d over a 2D kernel (C, C'/groups, k, k).

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.ConvTranspose3d would give.
    Cost: C * C' * k * k / groups multiply-adds per input voxel and view.
    """

    plane: tuple[int, int] = (1, 2)
    padding: Any
    padding_mode: Any

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
        nn.Module.__init__(self)
        who = type(self).__name__
        numbers = dict(in_channels=in_channels, out_channels=out_channels, groups=groups)
        check_arguments(self, **numbers, bias=bias, padding_mode=padding_mode)
        check_counts(who, **numbers)
        if in_channels % groups or out_channels % groups:
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
        # nn.ConvTranspose3d has them
        self.transposed, self._reversed_padding_repeated_twice = True, [0] * 6
        self._check_sizes(who)
        size = [self.kernel_size[axis] for axis in self.plane]
        check_sizes(f"{who}'s kernel", (in_channels, out_channels // groups, *self.kernel_size))
        like: dict[str, Any] = dict(device=device, dtype=dtype)
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels // groups, *size, **like))
        self.bias = nn.Parameter(torch.empty(out_channels, **like)) if bias else None
        self.make_views(like)
        self.reset_parameters()

    def make_views(self, like: dict[str, Any]) -> None:
        """Create what mixes the views, if it is learnt."""

    def _check_sizes(self, who: str) -> None:
        if min(*self.kernel_size, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise LeanError(
                f"{who}: kernel_size, stride and dilation must be at least 1, padding at least 0, "
                f"got {self.kernel_size}, {self.stride}, {self.dilation}, {self.padding}"
            )
        check_counts(who, stride=max(self.stride), dilation=max(self.dilation))
        check_counts(who, low=0, padding=max(self.padding))
        for more, stride, dilation in zip(
            self.output_padding, self.stride, self.dilation, strict=True
        ):
            if not 0 <= more < max(stride, dilation):
                raise LeanError(
                    f"{who}: output_padding must be smaller than stride or dilation, got "
                    f"{self.output_padding}"
                )

    def reset_parameters(self) -> None:
        """Initialise as nn.ConvTranspose2d."""
        if self.weight.is_meta:
            return
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        self.check_values(input)
        one = isinstance(input, Tensor) and input.ndim == 4 and sizes(input)[0] == self.in_channels
        if not one:
            check_axes(input, f"B C={self.in_channels} D H W", self)
        more: Any = self.output_padding
        if output_size is not None:
            settings: Any = (self.stride, self.padding, self.kernel_size, 3, self.dilation)
            more = self._output_padding(input, list(output_size), *settings)
        y = self.compute(input.unsqueeze(0) if one else input, more)
        if self.bias is not None:
            y = y + self.bias.view(-1, 1, 1, 1).to(y)
        return y.squeeze(0) if one else y

    def compute(self, x_BCDHW: Tensor, more: Triple) -> Tensor:
        """Run the operator itself, on a batch of volumes, without its bias.

        Args:
            more: The output padding.
        """
        raise NotImplementedError

    def all_views(self, x_BCDHW: Tensor, more: Triple) -> list[Tensor]:
        return [self.one_view(x_BCDHW, self.weight, v, self.groups, more) for v in range(3)]

    def one_view(
        self, x_BCDHW: Tensor, weight: Tensor, view: int, groups: int, more: Triple
    ) -> Tensor:
        """Transpose a 2D kernel on a plane; along the third axis outputs use the nearest input."""
        flat = tuple(1 if axis == view else step for axis, step in enumerate(self.stride))
        dilation = tuple(1 if axis == view else step for axis, step in enumerate(self.dilation))
        kernel = as_kernel(weight, view)
        y = F.conv_transpose3d(x_BCDHW, kernel, None, flat, groups=groups, dilation=dilation)
        pads: Any = [self._pads(kernel, axis, more[axis]) for axis in range(3)]
        pads[view] = (0, 0)
        y = pad_or_crop(y, pads)
        return self._nearest(y, view, more[view])

    def _pads(self, kernel: Tensor, axis: int, more: int) -> tuple[int, int]:
        """Return the padding of a full transposed convolution along an axis; negative: the crop."""
        missing = self.dilation[axis] * (self.kernel_size[axis] - sizes(kernel)[2 + axis])
        before = missing // 2 - self.padding[axis]
        after = missing - missing // 2 - self.padding[axis] + more
        return before, after

    def _nearest(self, y_BCDHW: Tensor, axis: int, more: int) -> Tensor:
        """Repeat along `axis` so that each output has the input whose kernel is centred nearest."""
        stride, pad = self.stride[axis], self.padding[axis]
        span = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        before = -(-(span - stride) // 2) - pad
        after = span - stride - 2 * pad + more - before
        if stride > 1:
            y_BCDHW = y_BCDHW.repeat_interleave(stride, dim=2 + axis)
        pads: Any = [(0, 0), (0, 0), (0, 0)]
        pads[axis] = before, after
        return pad_or_crop(y_BCDHW, pads, "replicate")

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}, padding={self.padding}"
        text += f", output_padding={self.output_padding}, dilation={self.dilation}"
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")
