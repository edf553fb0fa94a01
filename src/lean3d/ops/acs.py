"""Axial-coronal-sagittal convolution: a third of a 2D kernel's outputs on each view.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Algorithm 1
Differs from the paper: any groups; the remainder of the split goes to the first views; a 2D
kernel with few outputs is run as one block-sparse 3D kernel, which was measured faster.

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from lean3d import kernels
from lean3d.errors import LeanError
from lean3d.kernels.acs import ACS, Geometry
from lean3d.kernels.choice import chosen, fastest, measures
from lean3d.ops.base import as_kernel, choose_path, split_channels
from lean3d.ops.fast import convolve
from lean3d.ops.measured import autocast, layout, step, wants_gradients
from lean3d.ops.recorded import holds, is_plain, is_transformed
from lean3d.ops.views import ViewsConv3d
from lean3d.shape import Triple, sizes
from lean3d.typed import check_arguments

__all__ = ["ACSConv3d"]

# On two CPU cores, forward and backward: block-sparse was 1.2 times faster with 16 outputs and
# 1.5 times slower with 32; depthwise it took 0.6 to 0.9 of the time forward and 1.2 to 1.9 of it
# with the backward; channels_last_3d paid from 32 thousand voxels, up to 64 channels.
FEW_OUTPUTS = 16
MANY_VOXELS, FEW_CHANNELS = 2**15, 64


def _channels_last(x_BCDHW: Tensor) -> Tensor:
    """Return it with the channels of a voxel contiguous.

    A single channel is so in any layout. Its strides are set too, since the output follows them;
    the next operator would copy an output in planes, and hold both for the backward pass.
    """
    x_BCDHW = x_BCDHW.contiguous(memory_format=torch.channels_last_3d)
    one = holds(x_BCDHW.shape[1] == 1)
    return x_BCDHW.squeeze(1).unsqueeze(-1).movedim(-1, 1) if one else x_BCDHW


# a convolution: its input, kernel, bias and number of groups
Part = tuple[Tensor, Tensor, Tensor | None, int]


class ACSConv3d(ViewsConv3d):
    """Conv3d whose outputs each use one plane: axial (1,k,k), coronal (k,1,k) or sagittal (k,k,1).

    Takes the arguments of nn.Conv3d in the same order; kernel depth must equal height. Then:

    Args:
        split: Outputs per view, in the order axial, coronal, sagittal, summing to out_channels;
            None for thirds. A 2D checkpoint of nn.Conv2d loads unchanged.
        path: "views" (three convolutions), "dense" (one, with a block-sparse kernel) or "triton"
            (one Triton kernel; "views" where it does not run: not on a CUDA device, groups, or
            padding other than zeros). None for the fastest: on a CPU as measured here, on a GPU
            "views", or with torch.backends.cudnn.benchmark as measured at the first call.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.Conv3d would give.
    Cost: C * C' * k * k / groups multiply-adds per output voxel, those of the 2D kernel; the
        dense path spends k times as many.

    Raises:
        LeanError: `split` does not sum to `out_channels`, or the kernel's depth is not its height.
    """

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
        split: Triple | None = None,
        path: str | None = None,
    ):
        size = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, *size, device=device, dtype=dtype)
        given = tuple(split) if isinstance(split, Sequence) else split
        check_arguments(self, split=given, path=path)
        self.split = tuple(split_channels(out_channels, 3) if split is None else split)
        if len(self.split) != 3 or min(self.split) < 0 or sum(self.split) != out_channels:
            raise LeanError(
                f"ACSConv3d: split gives the outputs of three views and sums to out_channels="
                f"{out_channels}, got {split}"
            )
        self.path = choose_path(path, ("views", "dense", "triton"), self)
        self.reset_parameters()

    def kernel(self, weight: Tensor) -> Tensor:
        # onnxruntime refuses a kernel without outputs
        views = [view for view, rows in enumerate(self.split) if rows]
        parts = weight.split([self.split[view] for view in views])
        return torch.cat([self.view(part, view) for view, part in zip(views, parts, strict=True)])

    def _conv_forward(
        self, input: Tensor, weight: Tensor, bias: Tensor | None, path: str | None = None
    ) -> Tensor:
        x_BCDHW = input
        one_voxel = max(self.kernel_size) == 1
        if not one_voxel and x_BCDHW.device.type == "cpu" and self._channels_last_pays(x_BCDHW):
            x_BCDHW = _channels_last(x_BCDHW)
        path = path or self.path or self._fastest_path(x_BCDHW, weight, bias)
        if path == "triton" and self._triton_takes(x_BCDHW):
            return self._by_triton(x_BCDHW, weight, bias)
        outputs = []
        for x, kernel, own, groups in self._parts(x_BCDHW, weight, bias, one_voxel, path):
            depth, height, width = sizes(kernel)[2:]
            pads = self.pads_for((depth, height, width))
            size = (self.stride, self.dilation, groups)
            y = convolve(x, kernel, own, pads, self.pads, self.padding_mode, *size)
            outputs.append(y)
        return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]

    def _fastest_path(self, x_BCDHW: Tensor, weight: Tensor, bias: Tensor | None) -> str:
        if x_BCDHW.device.type == "cpu":
            return "dense" if self.dense_pays() else "views"
        if max(self.kernel_size) == 1 or not is_plain(x_BCDHW) or not measures(x_BCDHW):
            return "views"
        given = (x_BCDHW, weight, bias)
        own = (self.kernel_size, self.stride, self.pads, self.dilation, self.groups, self.split)
        how = (x_BCDHW.dtype, layout(x_BCDHW), wants_gradients(given))
        flags = torch.is_autocast_enabled("cuda"), torch.backends.cudnn.allow_tf32
        case = ("acs", x_BCDHW.shape, weight.shape, *own, self.padding_mode, *how, *flags)
        if (path := chosen(case)) is not None:
            return path
        paths = ["views", "dense", *(["triton"] if self._triton_takes(x_BCDHW) else [])]
        ways = {
            path: partial(step, partial(self._conv_forward, path=path), given) for path in paths
        }
        return fastest(case, ways, x_BCDHW, default="views")

    def _triton_takes(self, x_BCDHW: Tensor) -> bool:
        plain = self.groups == 1 and self.padding_mode == "zeros" and max(self.kernel_size) > 1
        return plain and is_plain(x_BCDHW) and kernels.runs_on(x_BCDHW)

    def _by_triton(self, x_BCDHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x_BCDHW, weight, bias = autocast(x_BCDHW, weight, bias)
        depth, height, width = x_BCDHW.shape[2:]
        geometry = Geometry.of(self, (depth, height, width))
        if min(geometry.size) < 1:
            return self._conv_forward(x_BCDHW, weight, bias, "views")  # refuses the volume
        found: Tensor = ACS.apply(x_BCDHW, weight, bias, geometry)
        return found

    def _parts(
        self, x_BCDHW: Tensor, weight: Tensor, bias: Tensor | None, one_voxel: bool, path: str
    ) -> list[Part]:
        """Return the convolutions whose outputs one after the other are those of the operator."""
        if one_voxel:
            return [(x_BCDHW, as_kernel(weight, 0), bias, self.groups)]
        if path == "dense":
            return [(x_BCDHW, self.kernel(weight), bias, self.groups)]
        cuts: list[tuple[int, int, int]] = []  # a view, and its outputs from where to where
        start = 0
        for view, channels in enumerate(self.split):
            cuts += [(view, *cut) for cut in self._whole_groups(start, start + channels)]
            start += channels
        # split, not sliced: the gradient of a slice is as large as the whole kernel
        rows = [last - first for _, first, last in cuts]
        kernels = weight.split(rows)
        biases = [None] * len(cuts) if bias is None else bias.split(rows)
        parts: list[Part] = []
        for (view, first, last), kernel, own in zip(cuts, kernels, biases, strict=True):
            x, groups = self._inputs(x_BCDHW, first, last)
            parts.append((x, as_kernel(kernel, view), own, groups))
        return parts

    @property
    def mixes_kernel(self) -> bool:
        on_cpu = self.path is None and self.weight.device.type == "cpu"
        return self.path == "dense" or (on_cpu and self.dense_pays())

    def dense_pays(self) -> bool:
        """Whether one block-sparse kernel was measured faster than three views, on a CPU."""
        if max(self.split) == self.out_channels:
            return False  # one view is a plane
        if self.in_channels == self.groups:
            # traces are checked without gradients
            return torch.jit.is_tracing() or not torch.is_grad_enabled()
        return self.out_channels <= FEW_OUTPUTS

    def _channels_last_pays(self, x_BCDHW: Tensor) -> bool:
        if max(self.in_channels, self.out_channels) > FEW_CHANNELS or is_transformed():
            return False
        return holds(x_BCDHW.numel() >= MANY_VOXELS * x_BCDHW.shape[1])

    def _whole_groups(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Cut outputs start..stop into a part of a group, whole groups, and a part of a group."""
        size = self.out_channels // self.groups
        first_whole, last_whole = -(-start // size) * size, stop // size * size
        if first_whole > last_whole:
            return [(start, stop)] if start < stop else []
        cuts = [start, first_whole, last_whole, stop]
        return [(a, b) for a, b in pairwise(cuts) if a < b]

    def _inputs(self, x_BCDHW: Tensor, start: int, stop: int) -> tuple[Tensor, int]:
        """Return the channels that outputs start..stop use, and how many groups these are."""
        outputs, inputs = self.out_channels // self.groups, self.in_channels // self.groups
        groups = max((stop - start) // outputs, 1)
        if groups < self.groups:
            x_BCDHW = x_BCDHW.narrow(1, start // outputs * inputs, groups * inputs)
        return x_BCDHW, groups

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, split={self.split}"
