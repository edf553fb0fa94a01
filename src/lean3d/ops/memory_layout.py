"""Memory layout of a model and its input."""

import torch
from torch import Tensor, nn

__all__ = ["channels_last", "channels_last_"]

_FORMAT = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(x: Tensor) -> Tensor:
    """Return the same values with the channels of a pixel, or voxel, contiguous in memory."""
    return x.contiguous(memory_format=_FORMAT[x.ndim]) if x.ndim in _FORMAT else x


def channels_last_(model: nn.Module) -> nn.Module:
    """Set the memory layout of every kernel of `model`, in place.

    One by one: `model.to(memory_format=torch.channels_last_3d)` refuses the 2D kernels of ACS.
    """
    for parameter in model.parameters():
        parameter.data = channels_last(parameter.data)
    return model
