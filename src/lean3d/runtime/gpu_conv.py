"""Convolutions on a GPU with the sum and the ReLU after them, each by its fastest kernel.

Axes: B batch, C channels, then one to three spatial axes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.kernels import scale_add_relu
from lean3d.kernels.acs import FORWARD, Geometry, acs_conv3d
from lean3d.kernels.choice import fastest
from lean3d.kernels.depthwise import Depthwise, depthwise_conv3d
from lean3d.kernels.device import runs_on
from lean3d.ops.views import embed
from lean3d.runtime.fusion import Activation, FusedConv

__all__ = ["GpuACS", "GpuConv"]

CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
Triples = Sequence[tuple[int, int, int]]


class GpuConv(FusedConv):
    """A convolution, by cuDNN or, if it is depthwise, by Triton.

    Args:
        weight: (C', C/groups, ...), shared with the network.
        shape: Stride, padding, dilation and groups.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ):
        super().__init__(weight, bias)
        sizes = self.per_axis(stride), self.per_axis(padding), self.per_axis(dilation)
        self.shape = (*sizes, groups)

    def takes(self, activation: Activation) -> bool:
        return activation[0] in ("none", "relu")

    @property
    def relu(self) -> bool:
        return self.activation[0] == "relu"

    def forward(self, x: Tensor, total: Tensor | None = None) -> Tensor:
        """Return the ReLU, if any, of the convolution plus `total`."""
        ways = self.ways(x, total)
        precision = x.dtype, torch.backends.cudnn.allow_tf32
        case = (type(self), x.shape, x.stride(), self.weight.shape, self.shape, *precision)
        flags = self.bias is None, total is None, self.relu, tuple(ways)
        # the first of Triton's where nothing is measured: under its interpreter
        tiles = [name for name in ways if name.startswith("triton")]
        name = fastest((*case, *flags), ways, x, default=list(ways)[-1], compiled=tiles)
        return ways[name]()

    def ways(self, x: Tensor, total: Tensor | None) -> dict[str, Callable[[], Tensor]]:
        """Return the calls that give the output, by name."""
        ways = _library(x, self.weight, self.bias, total, self.shape, self.relu)
        stride, padding, dilation, groups = self.shape
        depthwise = x.ndim == 5 and groups == x.shape[1] > 1 and self.weight.shape[1] == 1
        if depthwise and runs_on(x, self.weight):
            sizes: Any = (tuple(self.weight.shape[2:]), stride, padding, dilation)
            call = partial(depthwise_conv3d, x, self.weight, self.bias, Depthwise(*sizes))
            # torch's own kernel is for contiguous volumes
            ways["contiguous"] = partial(self._contiguous, x, total)
            ways["triton"] = partial(call, total=total, relu=self.relu)
        return ways

    def _contiguous(self, x: Tensor, total: Tensor | None) -> Tensor:
        y = F.conv3d(x.contiguous(), self.weight.contiguous(), None, *self.shape)
        y = y.contiguous(memory_format=torch.channels_last_3d)
        return scale_add_relu(y, shift=self.bias, total=total, relu=self.relu)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {self.shape}, {self.activation[0]}"


class GpuACS(GpuConv):
    """Axial, coronal and sagittal convolutions of one input, by one kernel of Triton or by cuDNN.

    Args:
        weight: (C', C, k, k), the 2D kernel of all three.
        split: Outputs of each view.
        pads: Padding of each view along D, H and W.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        dilation: Sequence[int],
        split: Sequence[int],
        pads: Triples,
    ):
        super().__init__(weight, bias, stride, (0, 0), dilation, 1)
        self.split, self.pads = tuple(split), tuple(map(tuple, pads))
        self.shape = ((*stride,), (*self.pads[0],), (*dilation,), 1)
        self.dense: Tensor | None
        self.register_buffer("dense", self._dense(), persistent=False)

    def _dense(self) -> Tensor | None:
        """Return the one kernel of all views, of a cube with a centre."""
        height, width = self.weight.shape[2:]
        if height != width or height % 2 == 0 or min(self.split) == 0:
            return None
        parts = enumerate(self.weight.split(self.split))
        cube = (height, height, height)
        return torch.cat([embed(part.unsqueeze(2 + view), cube) for view, part in parts])

    def ways(self, x: Tensor, total: Tensor | None) -> dict[str, Callable[[], Tensor]]:
        ways: dict[str, Callable[[], Tensor]] = {"views": partial(self._by_views, x, total)}
        if self.dense is not None:
            pads = (self.pads[1][0], self.pads[0][1], self.pads[0][2])
            shape = (self.shape[0], pads, *self.shape[2:])
            library = _library(x, self.dense, self.bias, total, shape, self.relu)
            ways |= {f"dense {name}": way for name, way in library.items()}
        geometry = self._geometry(x)
        if runs_on(x, self.weight):
            call = partial(acs_conv3d, x, self.weight, self.bias, geometry)
            for blocks in FORWARD:
                ways[f"triton {blocks}"] = partial(call, total=total, relu=self.relu, blocks=blocks)
        return ways

    def _by_views(self, x: Tensor, total: Tensor | None) -> Tensor:
        stride, _, dilation, _ = self.shape
        kernels = self.weight.split(self.split)
        parts = [
            F.conv3d(x, kernel.unsqueeze(2 + view), None, stride, self.pads[view], dilation)
            for view, kernel in enumerate(kernels)
            if len(kernel)
        ]
        y = torch.cat(parts, dim=1)
        return scale_add_relu(y, shift=self.bias, total=total, relu=self.relu)

    def _geometry(self, x: Tensor) -> Geometry:
        stride, _, dilation, _ = self.shape
        view = next(view for view, outputs in enumerate(self.split) if outputs)
        kernel = list(self.weight.shape[2:])
        kernel.insert(view, 1)
        rows = zip(x.shape[2:], kernel, stride, self.pads[view], dilation, strict=True)
        size: Any = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows)
        own: Any = (self.split, self.pads, stride, dilation, size)
        return Geometry(*own)


def _library(
    x: Tensor, weight: Tensor, bias: Tensor | None, total: Tensor | None, shape: Any, relu: bool
) -> dict[str, Callable[[], Tensor]]:
    """Return the calls of torch's libraries."""
    conv = CONV[weight.ndim - 2]
    stride, padding, dilation, groups = shape
    if total is None and not relu:
        return {"torch": partial(conv, x, weight, bias, *shape)}

    def then_add() -> Tensor:
        y = conv(x, weight, None, *shape)
        return scale_add_relu(y, shift=bias, total=total, relu=relu)

    def together() -> Tensor:
        sizes = (stride, padding, dilation, groups)
        if total is None:
            return torch.cudnn_convolution_relu(x, weight, bias, *sizes)
        return torch.cudnn_convolution_add_relu(x, weight, total, 1.0, bias, *sizes)

    ways: dict[str, Callable[[], Tensor]] = {"torch": then_add}
    if relu and x.device.type == "cuda":
        ways = {"torch": then_add, "cudnn": together}
    return ways
