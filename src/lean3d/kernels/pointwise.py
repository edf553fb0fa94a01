"""The scale and shift of a norm, a residual sum and a ReLU in one pass over a GPU's memory.

Axes: B batch, C channels, then any number of spatial axes.
"""

import torch
from torch import Tensor

from lean3d.kernels.blocks import up
from lean3d.kernels.device import load

__all__ = ["scale_add_relu"]

BLOCK = 1024
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def scale_add_relu(
    x: Tensor,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    total: Tensor | None = None,
    *,
    relu: bool = False,
) -> Tensor:
    """Return relu(x * scale + shift + total), without gradients; all but x are optional.

    Args:
        scale, shift: (C,), those of a batch norm in eval mode, or a bias.
        total: Of the shape of x.

    Shape: that of x, in its memory layout where that is channels-last or contiguous.
    """
    last = LAST.get(x.ndim)
    in_last = last is not None and x.stride(1) == 1 and x.shape[1] > 1
    layout = last if in_last and last else torch.contiguous_format
    x = x.contiguous(memory_format=layout)
    y = torch.empty_like(x, memory_format=layout)
    total = None if total is None else total.contiguous(memory_format=layout)
    inner = 1 if in_last else x[0, 0].numel() if x.numel() else 1
    if x.numel():
        load("pointwise_triton").forward[(up(x.numel(), BLOCK),)](
            *(x, scale, shift, total, y),
            *(x.numel(), x.shape[1], inner),
            HAS_SCALE=scale is not None,
            HAS_SHIFT=shift is not None,
            HAS_SUM=total is not None,
            RELU=relu,
            BLOCK=BLOCK,
        )
    return y
