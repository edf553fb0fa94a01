"""timm_3d and segmentation_models_pytorch_3d: names as in 2D, kernels with depth as the last axis.

Its keys cannot be distinguished from other files of these names, so the format is explicit.
"""

from torch import Tensor

from lean3d.checkpoints.format import Tensors
from lean3d.checkpoints.formats import register_format

__all__: list[str] = []


def depth_first(value: Tensor) -> Tensor:
    """(C', C, H, W, D) -> (C', C, D, H, W)"""
    return value.permute(0, 1, 4, 2, 3) if value.ndim == 5 else value


@register_format("timm_3d", "timm_3d, depth last", value=depth_first)
def asked_for(tensors: Tensors) -> bool:
    """Only on request."""
    return False
