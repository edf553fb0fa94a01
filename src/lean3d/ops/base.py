"""Base classes of the operators: the checked arguments of nn.Conv3d.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.limits import check_counts, check_sizes
from lean3d.ops.fast import convolve
from lean3d.ops.leaf import Leaf
from lean3d.ops.padding import Pads, only, pad_beyond
from lean3d.shape import Triple, check_axes, sizes, triple
from lean3d.typed import check_arguments

__all__ = [
    "Conv3dLike",
    "Holds4d",
    "along",
    "as_kernel",
    "choose_path",
    "split_channels",
]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def split_channels(channels: int, parts: int) -> tuple[int, ...]:
    """Cut channels into equal parts; the remainder goes to the first ones."""
    share, rest = divmod(channels, parts)
    return tuple(share + (part < rest) for part in range(parts))


def choose_path(path: str | None, paths: tuple[str, ...], owner: object) -> str | None:
    """Return `path` if it is None (measured choice) or one of `paths`."""
    if path is not None and path not in paths:
        raise LeanError(f"{type(owner).__name__} computes by {', '.join(paths)}; got path={path!r}")
    return path


def along(values: Triple, axis: int, other: int) -> tuple[Triple, Triple]:
    """Return settings of the plane (`other` along `axis`) and of the line (`other` elsewhere)."""
    plane = [other if i == axis else value for i, value in enumerate(values)]
    line = [value if i == axis else other for i, value in enumerate(values)]
    return (plane[0], plane[1], plane[2]), (line[0], line[1], line[2])


def as_kernel(weight: Tensor, axis: int) -> Tensor:
    """Expand a 2D kernel (C', C, k, k) to the plane without extent along spatial `axis`."""
    if axis == 2:
        # `unsqueeze` would give the last axis a stride that is not of channels-last memory: torch's
        # convolution in groups then reads other taps, and is wrong without a word (torch 2.13)
        return torch.unflatten(weight, 3, (-1, 1))
    return weight.unsqueeze(2 + axis)


class Holds4d(Leaf):
    """A module for volumes with 4-D parameters that still accepts `channels_last_3d`."""

    def _apply(self, fn: Callable, recurse: bool = True):
        # .to(memory_format=torch.channels_last_3d) refuses 4-D tensors, so it gets 5-D views
        def as_5d(tensor: Tensor) -> Tensor:
            return fn(tensor.unsqueeze(2)).squeeze(2) if tensor.ndim == 4 else fn(tensor)

        return super()._apply(as_5d, recurse)

    def check_values(self, x: Tensor) -> None:
        """Refuse to compute without weights: torch's convolutions return whatever memory holds."""
        if torch.compiler.is_compiling():
            return
        weight = next(self.parameters(), None)
        if weight is not None and weight.is_meta and isinstance(x, Tensor) and not x.is_meta:
            raise LeanError(
                f"{type(self).__name__} has no values, its weights are on the meta device and the "
                f"input is on {x.device}; load weights, or give an input on meta"
            )


class Conv3dLike(Holds4d):
    """The arguments of nn.Conv3d, checked once, and the convolution they describe.

    A kernel smaller or larger than `kernel_size` along an axis is centred in it, so every operator
    gives exactly the output size of nn.Conv3d.
    """

    bias: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Triple,
        stride: int | Triple = 1,
        padding: str | int | Triple = 0,
        dilation: int | Triple = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        nn.Module.__init__(self)
        who = type(self).__name__
        numbers = dict(in_channels=in_channels, out_channels=out_channels, groups=groups)
        check_arguments(self, **numbers, bias=bias, padding_mode=padding_mode)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if groups < 1 or channels < 1 or channels % groups:
                raise LeanError(
                    f"{who}: {name} must be a positive multiple of groups={groups}, got {channels}"
                )
        if padding_mode not in PADDING_MODES:
            raise LeanError(f"{who}: padding_mode is one of {PADDING_MODES}, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = triple(kernel_size, "kernel_size")
        check_sizes(f"{who}'s kernel", (out_channels, in_channels // groups, *self.kernel_size))
        self.stride, self.dilation = triple(stride, "stride"), triple(dilation, "dilation")
        self.padding_mode = padding_mode
        # nn.Conv3d has them
        self.transposed, self.output_padding = False, (0, 0, 0)
        for name in ("kernel_size", "stride", "dilation"):
            if min(getattr(self, name)) < 1:
                raise LeanError(f"{who}: {name} must be at least 1, got {getattr(self, name)}")
            check_counts(who, **{name: max(getattr(self, name))})
        self.padding: str | Triple
        self.pads = self._read_padding(padding)
        self.make_bias(bias, dict(device=device, dtype=dtype))

    def make_bias(self, bias: bool, like: dict[str, Any]) -> None:
        """Create the bias, if no part of the operator has it."""

    def _read_padding(self, padding: str | int | Triple) -> Pads:
        who = type(self).__name__
        if not isinstance(padding, str):
            self.padding = triple(padding, "padding")
            if min(self.padding) < 0:
                raise LeanError(f"{who}: padding is negative: {self.padding}")
            check_counts(who, low=0, padding=max(self.padding))
            depth, height, width = self.padding
            return ((depth, depth), (height, height), (width, width))
        if padding not in ("same", "valid"):
            raise LeanError(f"{who}: padding is a size, 'same' or 'valid', got {padding!r}")
        if padding == "same" and self.stride != (1, 1, 1):
            raise LeanError(f"{who}: padding='same' needs stride 1, got {self.stride}")
        self.padding = padding
        spans = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        halves = [(span // 2, span - span // 2) for span in spans]
        return (halves[0], halves[1], halves[2]) if padding == "same" else ((0, 0),) * 3

    def pads_for(self, extent: Triple, dilation: Triple | None = None) -> Pads:
        """Return the padding (negative: crop) with which `extent` keeps the output size."""
        dilations = dilation or self.dilation
        result = []
        for axis, (before, after) in enumerate(self.pads):
            nominal, own = self.kernel_size[axis] - 1, extent[axis] - 1
            shift = dilations[axis] * (own // 2) - self.dilation[axis] * (nominal // 2)
            total = dilations[axis] * own - self.dilation[axis] * nominal
            result.append((before + shift, after + total - shift))
        return (result[0], result[1], result[2])

    def convolve(
        self,
        x_BCDHW: Tensor,
        kernel: Tensor,
        bias: Tensor | None = None,
        *,
        groups: int | None = None,
        dilation: Triple | None = None,
    ) -> Tensor:
        """Convolve with a dense kernel (C', C/groups, kd, kh, kw) of any extent."""
        depth, height, width = sizes(kernel)[2:]
        pads = self.pads_for((depth, height, width), dilation)
        groups = self.groups if groups is None else groups
        size = (self.stride, dilation or self.dilation, groups)
        return convolve(x_BCDHW, kernel, bias, pads, self.pads, self.padding_mode, *size)

    def padded(self, x_BCDHW: Tensor, pads: Pads, axes: tuple[int, ...] = (0, 1, 2)) -> Tensor:
        """Pad `axes` by `padding_mode` up to `padding`, and by zeros beyond."""
        needed, given = only(pads, axes), only(self.pads, axes)
        return pad_beyond(x_BCDHW, needed, given, self.padding_mode)

    def forward(self, input: Tensor) -> Tensor:
        self.check_values(input)
        if isinstance(input, Tensor) and input.ndim == 4 and sizes(input)[0] == self.in_channels:
            # one volume without a batch axis, as nn.Conv3d takes it
            return self.compute(input.unsqueeze(0)).squeeze(0)
        check_axes(input, f"B C={self.in_channels} D H W", self)
        return self.compute(input)

    def compute(self, x_BCDHW: Tensor) -> Tensor:
        """Run the operator itself, on a batch of volumes."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        pad = self.padding if isinstance(self.padding, str) else tuple(self.padding)
        text += f", padding={pad!r}" if pad not in ((0, 0, 0), "valid") else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += ", bias=False" if self.bias is None else ""
        text += f", padding_mode={self.padding_mode!r}" if self.padding_mode != "zeros" else ""
        return text
