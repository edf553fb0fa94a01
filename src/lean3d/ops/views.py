"""One 2D kernel on the axial, coronal and sagittal planes of a volume.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477

Axes: B batch, C channels, D depth, H height, W width. View 0 has no extent along D (axial),
view 1 none along H (coronal), view 2 none along W (sagittal).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.ops.base import as_kernel
from lean3d.ops.kernel import KernelConv3d
from lean3d.shape import sizes

__all__ = ["LearntViews", "PlaneConv3d", "ViewsConv3d", "embed"]


def embed(kernel: Tensor, extent: tuple[int, ...]) -> Tensor:
    """Centre a kernel in a larger one that is zero elsewhere."""
    pads = []
    outputs, inputs, *owns = sizes(kernel)
    for own, size in zip(reversed(owns), reversed(extent), strict=True):
        before = (size - 1) // 2 - (own - 1) // 2
        pads += [before, size - own - before]
    # the TorchScript-based ONNX exporter cannot infer the shape of padded tensors
    return torch.nn.functional.pad(kernel, pads).view(outputs, inputs, *extent)


class PlaneConv3d(KernelConv3d):
    """An operator whose weight is a 2D kernel (C', C/groups, k, k): 2D checkpoints load as is."""

    # the axes of `kernel_size` that give the 2D kernel its height and width
    plane: tuple[int, int] = (1, 2)

    def make_weight(self, device=None, dtype=None) -> None:
        size = tuple(self.kernel_size[axis] for axis in self.plane)
        shape = (self.out_channels, self.in_channels // self.groups, *size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Initialise as nn.Conv2d."""
        if self.weight.is_meta:  # templates of conversions: drawing nothing would take a while
            return
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.reset_bias(self.weight[0].numel())


class LearntViews:
    """Loads 2D weights without `views` into modules that may have this parameter."""

    _parameters: dict[str, Any]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: object) -> None:
        if "views" in self._parameters and f"{prefix}weight" in state_dict:
            state_dict.setdefault(f"{prefix}views", self._parameters["views"])
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[misc]


class ViewsConv3d(PlaneConv3d):
    """A 2D kernel used on all three views; a subclass assigns channels to views."""

    def __init__(self, *arguments, **like):
        super().__init__(*arguments, **like)
        depth, height, _ = self.kernel_size
        if depth != height:
            raise LeanError(
                f"{type(self).__name__}: one (height, width) kernel serves all three views, so "
                f"kernel depth must equal height, got {self.kernel_size}; see PlanarConv3d"
            )
        self.make_weight(**like)

    @property
    def mixes_kernel(self) -> bool:
        return True

    @property
    def extent(self) -> tuple[int, int, int]:
        """Return the box of all three views: larger than `kernel_size` only if k is not square."""
        height, width = self.kernel_size[1:]
        return (height, max(height, width), width)

    def view(self, weight: Tensor, view: int) -> Tensor:
        """Return the 3D kernel of one view, embedded in the box of all three."""
        return embed(as_kernel(weight, view), self.extent)
