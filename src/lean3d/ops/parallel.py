"""Parallel streams of 2D convolutions followed by one 1D convolution, each stream its own plane.

Paper: Gonda et al., Parallel Separable 3D Convolution for Video and Volumetric Data
Understanding (PmSCn), arXiv:1809.04096, Sec 3
Differs from the paper: no known differences; where the paper does not specify it, the first 2D
convolution has the stride, every 2D convolution is followed by ReLU, only the last convolution
has a bias, and there is no norm between them unless `norm` asks for it. Streams can be summed, as
in Eqn 3, or concatenated, as in the paper's networks.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

from functools import reduce
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.limits import check_sizes
from lean3d.ops.base import Conv3dLike, along, split_channels
from lean3d.ops.initial import LINEAR, RELU, scale_, scale_last_
from lean3d.shape import Triple
from lean3d.typed import check_arguments

__all__ = ["ParallelSeparableConv3d", "matching_filters"]


def matching_filters(in_channels: int, out_channels: int, kernel: Triple) -> int:
    """Return filters M with which a 2D and a 1D convolution have Conv3d's parameters (Eqn 5)."""
    depth, height, width = kernel
    dense = out_channels * in_channels * depth * height * width
    return max(dense // (in_channels * height * width + out_channels * depth), 1)


class ParallelSeparableConv3d(Conv3dLike):
    """Conv3d replaced by `streams` chains of 2D convolutions, ReLU and a 1D convolution (PmSCn).

    Stream 0 convolves the plane (H, W) then the line D, stream 1 (D, W) then H, stream 2 (D, H)
    then W. Takes the arguments of nn.Conv3d in the same order, then:

    Args:
        streams: m, the number of orientations, 1 to 3.
        depth: n, the 2D convolutions per stream; P2SC2 replaces two Conv3d in a row.
        filters: Filters of each 2D convolution; None for M / streams, M by Eqn 5.
        relu: False omits the non-linearity; with depth 1 the operator is then linear.
        join: "concat" gives each stream its share of the outputs, within each group; with "sum"
            every stream computes all outputs and they are added up (Eqn 3).
        start: "layers" draws the weights of every convolution as nn.Conv3d, which trains faster
            where batch norm follows every unit (measured in papers/pmscn). "outputs" draws them for
            outputs as large as nn.Conv3d's, for networks without norms; they are else about 0.41,
            0.17, 0.07 of them for depth 1, 2, 3.
        norm: Batch norm after every 2D convolution, before the ReLU, as R(2+1)D has it; the paper
            mentions none.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.Conv3d would give.
    Cost: m * (F*C*k*k + (n-1)*F*F*k*k) + F*C'*k multiply-adds per output voxel at stride 1, F the
        filters; "sum" spends m * F*C'*k on the lines.

    Raises:
        LeanError: `streams` is not 1, 2 or 3, `depth` is below 1, a group has fewer outputs than
            streams, or the groups do not divide `filters`.
    """

    # of models that lean3d 0.1 stored
    norm: bool = False
    start: Literal["layers", "outputs"] = "layers"

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
        *,
        streams: int = 1,
        depth: int = 1,
        filters: int | None = None,
        relu: bool = True,
        join: Literal["concat", "sum"] = "concat",
        norm: bool = False,
        start: Literal["layers", "outputs"] = "layers",
    ):
        size = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, *size, device=device, dtype=dtype)
        check_arguments(self, streams=streams, depth=depth, filters=filters, relu=relu, join=join)
        check_arguments(self, norm=norm, start=start)
        if streams not in (1, 2, 3) or depth < 1:
            raise LeanError(
                f"ParallelSeparableConv3d: streams is 1, 2 or 3 and depth at least 1, "
                f"got {streams=}, {depth=}"
            )
        if join not in ("concat", "sum"):
            raise LeanError(f"ParallelSeparableConv3d: join is 'concat' or 'sum', got {join!r}")
        if join == "concat" and out_channels // groups < streams:
            raise LeanError(
                f"ParallelSeparableConv3d: {streams} streams need as many outputs in each group, "
                f"got {out_channels // groups}"
            )
        self.num_streams, self.depth, self.relu, self.join = streams, depth, relu, join
        self.norm, self.start = norm, start
        self.filters = self._filters(filters)
        kernels = (depth * self.filters, in_channels + self.filters, *self.kernel_size)
        check_sizes("ParallelSeparableConv3d's kernels", kernels)
        like = dict(device=device, dtype=dtype)
        self.streams = nn.ModuleList(
            # one bias is enough for a sum
            self._stream(axis, share * groups, bias and (join == "concat" or axis == 0), like)
            for axis, share in enumerate(self.shares)
        )
        self._scale()

    @property
    def shares(self) -> tuple[int, ...]:
        """The outputs of each stream, in each group."""
        outputs = self.out_channels // self.groups
        if self.join == "sum":
            return (outputs,) * self.num_streams
        return split_channels(outputs, self.num_streams)

    def _filters(self, filters: int | None) -> int:
        if filters is None:
            matching = matching_filters(self.in_channels, self.out_channels, self.kernel_size)
            whole = matching // self.num_streams // self.groups * self.groups
            return max(whole, self.groups)
        if filters < 1 or filters % self.groups:
            raise LeanError(
                f"ParallelSeparableConv3d: filters must be a positive multiple of groups="
                f"{self.groups}, got {filters}"
            )
        return filters

    def _stream(self, axis: int, out_channels: int, bias: bool, like: dict) -> nn.Sequential:
        plane, line = along(self.kernel_size, axis, 1)
        step, line_step = along(self.stride, axis, 1)
        spread, line_spread = along(self.dilation, axis, 1)
        pad = line_pad = self.padding
        if not isinstance(self.padding, str):
            pad, line_pad = along(self.padding, axis, 0)
        inner: dict[str, Any] = dict(groups=self.groups, padding_mode=self.padding_mode, **like)
        layers: list[nn.Module] = []
        channels = self.in_channels
        for layer in range(self.depth):
            place: dict[str, Any] = dict(stride=step, padding=pad)
            if layer > 0:
                place = dict(padding="same")
            sizes: dict[str, Any] = dict(kernel_size=plane, dilation=spread, bias=False)
            layers.append(nn.Conv3d(channels, self.filters, **sizes, **place, **inner))
            layers += [nn.BatchNorm3d(self.filters, **like)] if self.norm else []
            layers.append(nn.ReLU() if self.relu else nn.Identity())
            channels = self.filters
        last: dict[str, Any] = dict(
            stride=line_step, padding=line_pad, dilation=line_spread, bias=bias
        )
        layers.append(nn.Conv3d(channels, out_channels, line, **last, **inner))
        return nn.Sequential(*layers)

    @property
    def bias(self) -> Tensor | None:
        """The bias (C',) of the operator, of which each 1D convolution has a part."""
        lines: Any = [list(stream.children())[-1] for stream in self.streams]
        parts = [line.bias for line in lines if line.bias is not None]
        return self._joined(parts, dim=0) if parts else None

    def reset_parameters(self) -> None:
        """Initialise as `start` says; batch norms as nn.BatchNorm3d."""
        for module in self.streams.modules():
            if isinstance(module, nn.Conv3d | nn.BatchNorm3d):
                module.reset_parameters()
        self._scale()

    def _scale(self) -> None:
        """Keep the mean square up to the last layer, if outputs are to be large."""
        if self.start == "layers":
            return
        gain = RELU if self.relu else LINEAR
        for stream in self.streams:
            *planes, line = (m for m in stream.modules() if isinstance(m, nn.Conv3d))
            for index, plane in enumerate(planes):
                scale_(plane, gain if index else LINEAR)
            added = self.num_streams if self.join == "sum" else 1
            scale_last_(line, self, gain / LINEAR / added)

    def _joined(self, parts: list[Tensor], dim: int) -> Tensor:
        """Join the streams' channels group by group, in the order of nn.Conv3d."""
        if self.join == "sum":
            return reduce(torch.add, parts)
        grouped = zip(*[part.chunk(self.groups, dim=dim) for part in parts], strict=True)
        return torch.cat([share for group in grouped for share in group], dim=dim)

    def dense_weight(self) -> Tensor:
        """The kernel (C', C/groups, k, k, k) this equals; only without ReLU or norm, at depth 1.

        Raises:
            LeanError: with ReLU, with a norm, or with `depth` above 1.
        """
        if self.relu or self.norm or self.depth > 1:
            raise LeanError(
                "ParallelSeparableConv3d equals one kernel only with relu=False and depth=1, "
                f"and without a norm, got relu={self.relu}, depth={self.depth}, norm={self.norm}"
            )
        kernels = []
        for stream in self.streams:
            convs = [layer for layer in stream.modules() if isinstance(layer, nn.Conv3d)]
            plane, line = (conv.weight.unflatten(0, (self.groups, -1)) for conv in convs)
            kernel = torch.einsum("gomxyz,gmcuvw->gocxuyvzw", line, plane)
            # along each axis either the line or the plane has one tap, so the products merge
            kernels.append(kernel.reshape(*kernel.shape[:3], *self.kernel_size).flatten(0, 1))
        return self._joined(kernels, dim=0)

    def compute(self, x_BCDHW: Tensor) -> Tensor:
        return self._joined([stream(x_BCDHW) for stream in self.streams], dim=1)

    def extra_repr(self) -> str:
        own = f"streams={self.num_streams}, depth={self.depth}, filters={self.filters}"
        own += "" if self.join == "concat" else f", join={self.join!r}"
        own += "" if self.relu else ", relu=False"
        return f"{super().extra_repr()}, {own}" + (", norm=True" if self.norm else "")
