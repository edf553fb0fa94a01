"""Cycling planes: the blocks of a 2D network run on the HW, DW and DH planes of a volume in turn.

Paper: Yu, Li and Yang, PlaneCycle, arXiv:2603.04165. There a DINOv3 ViT or ConvNeXt is rewritten by
hand and depth is never downsampled, `PlaneCycle(keep_depth=None)` here. Differs from it: between
blocks, class and register tokens are pooled back to the slices of the first plane; a block that
changes the resolution runs on the first plane; a plane one voxel thick is replaced by another.
"""

from dataclasses import dataclass
from typing import Literal, NoReturn

from torch import nn

from lean3d.conversion.cycle.planes import PLANES
from lean3d.conversion.methods import register_method
from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.errors import ConversionError

__all__ = ["PlaneCycle"]


@register_method("plane_cycle", "the same kernel; its block runs on one plane, the next on another")
@dataclass(frozen=True)
class PlaneCycle(To3D):
    """Run each block of any 2D network on all slices of one plane; the next block on the next one.

    The blocks, and all that is between them, run their own 2D forward, so attention networks
    convert as convolutional ones do. What is outside the blocks runs on slices of the first plane.

    Args:
        order: The planes in turn, each by the axes of its rows and columns: "HW", "WH", "DW",
            "WD", "DH" or "HD".
        tokens: How class and register tokens, of which each slice has its own, are pooled to the
            slices of another plane: "adaptive" means of neighbouring slices, or the "mean" of all.
        cycle: What moves on to the next plane: every "block", every "stage" (the blocks of one
            resolution), or every "layer" (convolutions and attention inside the blocks).
        depth_stride: How many slices are averaged into one before the first layer; None for as
            many as the first downsampling makes of rows, if the network begins with one that
            keep_depth does not keep.
    """

    order: tuple[str, ...] = ("HW", "DW", "DH", "HW")
    tokens: Literal["adaptive", "mean"] = "adaptive"
    cycle: Literal["block", "stage", "layer"] = "block"
    depth_stride: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = next((plane for plane in self.order if plane not in PLANES), None)
        if wrong is not None or not self.order:
            raise ConversionError(
                f"PlaneCycle: order is one plane or more of {', '.join(PLANES)}, got {self.order!r}"
            )
        if self.depth_stride is not None and self.depth_stride < 1:
            raise ConversionError(
                f"PlaneCycle: depth_stride is a number of slices, at least 1, or None, got "
                f"{self.depth_stride}"
            )

    def conv(self, conv: nn.Conv2d, site: Site) -> Converted:
        self._no_kernel()

    def transposed(self, conv: nn.ConvTranspose2d, site: Site) -> Converted:
        self._no_kernel()

    def _no_kernel(self) -> NoReturn:
        raise ConversionError(
            "PlaneCycle turns whole networks, whose kernels stay 2D; convert the network"
        )
