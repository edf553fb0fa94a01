"""What a step accepts: frames that are whole, finite and in the model's precision.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

import torch
from torch import Tensor

from lean3d.errors import LeanError, ShapeError
from lean3d.shape import check_axes

__all__ = ["as_clip"]


def as_clip(frame: Tensor, chunk: int, dtype: torch.dtype, owner: object) -> Tensor:
    """A frame (B, C, H, W) of every stream, or several (B, C, T, H, W), as (B, C, T, H, W).

    Raises:
        ShapeError: axes, number of frames or precision do not fit.
        LeanError: a frame is not finite; says of which stream.
    """
    if not isinstance(frame, Tensor):
        raise ShapeError(f"a step takes frames as a torch.Tensor, got {type(frame).__name__}")
    check_axes(frame, "B C T H W" if frame.ndim == 5 else "B C H W", owner)
    x_BCTHW = frame if frame.ndim == 5 else frame.unsqueeze(2)
    frames = x_BCTHW.shape[2]
    if frames % chunk or not frames:
        raise ShapeError(
            f"this model strides over time: a step takes (B, C, T, H, W) with T a multiple of "
            f"{chunk} frames, got {frames}"
        )
    if frame.dtype != dtype:
        raise ShapeError(
            f"the model computes in {dtype}, the frame is {frame.dtype}; convert it as in training"
        )
    finite = x_BCTHW.isfinite()
    if not finite.all():
        bad = (~finite.flatten(1).all(1)).nonzero().flatten().tolist()
        raise LeanError(
            f"the frame of stream {', '.join(map(str, bad))} holds NaN or infinity; nothing was "
            "computed, the state can be used on: leave the frame out or repair it"
        )
    return x_BCTHW
