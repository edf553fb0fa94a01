"""Checks of a stream's inputs: frames are complete, finite and in the model's precision.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor

from lean3d.errors import LeanError, ShapeError
from lean3d.limits import check_memory
from lean3d.shape import check_axes
from lean3d.streaming.state import NEVER

__all__ = [
    "as_clip",
    "check_after",
    "check_batch",
    "check_clip",
    "check_options",
    "check_room",
    "check_size",
]

# bytes of frames from which on the memory that is free is looked up, which takes a tenth of a ms
LARGE = 1 << 26


def as_clip(frame: Tensor, chunk: int, like: Tensor, owner: object) -> Tensor:
    """Return a frame (B, C, H, W) of every stream, or several (B, C, T, H, W), as (B, C, T, H, W).

    Raises:
        ShapeError: axes, number of frames or precision do not fit.
        LeanError: a frame is not finite; names the stream.
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
    check_precision(frame, like)
    check_copy(x_BCTHW)
    finite = x_BCTHW.isfinite()
    if not finite.all():
        bad = (~finite.flatten(1).all(1)).nonzero().flatten().tolist()
        raise LeanError(
            f"the frame of stream {', '.join(map(str, bad))} holds NaN or infinity; nothing was "
            "computed, the state can be used on: leave the frame out or repair it"
        )
    return x_BCTHW


def check_clip(clip_BCTHW: Tensor, like: Tensor, owner: object) -> None:
    """Raise ShapeError unless it is a clip that a model with parameters like `like` accepts."""
    check_axes(clip_BCTHW, "B C T H W", owner)
    check_precision(clip_BCTHW, like)
    if not clip_BCTHW.numel():
        raise ShapeError(f"a clip has a frame or more, got {tuple(clip_BCTHW.shape)}")
    check_copy(clip_BCTHW)


def check_copy(frames: Tensor) -> None:
    """Refuse frames of which there is no room for a copy: the first layer makes one, padded."""
    shape = " x ".join(map(str, frames.shape))
    size = frames.numel() * frames.element_size()
    check_room(f"a copy of frames of {shape}", size, frames.device)


def check_room(what: str, size: int, device: torch.device) -> None:
    """Refuse an allocation of bytes that is larger than what is free in main memory."""
    if size > LARGE and device.type == "cpu":
        check_memory(what, size, "give fewer at a time")


def check_precision(frame: Tensor, like: Tensor) -> None:
    if frame.dtype != like.dtype:
        raise ShapeError(
            f"the model computes in {like.dtype}, the frame is {frame.dtype}; convert it as in "
            "training"
        )
    if frame.device != like.device or frame.layout != torch.strided:
        raise ShapeError(
            f"the model is on {like.device}, the frame is {frame.layout} on {frame.device}; make "
            "it a dense tensor there"
        )


def is_count(value: object) -> bool:
    """Whether it is a whole number above 0; True does not count as one."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < NEVER


def check_batch(streams: object, who: str) -> None:
    if not is_count(streams):
        raise ShapeError(f"{who} takes 1 stream or more, got batch_size={streams!r}")


def check_after(frames: object) -> None:
    if not (is_count(frames) or (type(frames) is int and frames == 0)):
        raise LeanError(f"end takes frames still to come, 0 or more, got after={frames!r}")


def check_size(size: Any) -> torch.Size:
    """Return (C, H, W) of a frame."""
    if not all(map(is_count, size)):
        raise ShapeError(
            f"Stream needs height and width of a frame, 1 or more, got (C, H, W) = {size}"
        )
    return torch.Size(size)


def check_options(wait: bool, window: object, frame: object) -> None:
    """Raise LeanError unless `stream` accepts the combination."""
    if window is not None and not (wait and is_count(window)):
        raise LeanError(f"stream takes window=, a number of frames, with wait=True; got {window!r}")
    if frame is not None:
        sizes = list(frame) if isinstance(frame, tuple | list) else []
        if len(sizes) != 3 or not all(map(is_count, sizes)):
            raise ShapeError(f"stream takes frame=(C, H, W), 1 or more each, got {frame!r}")
