"""timm_3d and segmentation_models_pytorch_3d: names as in 2D, kernels with depth as the last axis.

Its keys cannot be distinguished from other files of these names, so the format is explicit.
"""

from torch import Tensor

from lean3d.checkpoints.format import Facts, Format
from lean3d.checkpoints.torchvision import named_as_here

__all__ = ["TIMM_3D"]


def depth_first(value: Tensor) -> Tensor:
    """(C', C, H, W, D) -> (C', C, D, H, W)"""
    return value.permute(0, 1, 4, 2, 3) if value.ndim == 5 else value


TIMM_3D = Format(
    "timm_3d",
    "timm_3d, depth last",
    lambda _: False,
    named_as_here,
    lambda _: Facts(),
    value=depth_first,
)
