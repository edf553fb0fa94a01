"""Dissect: what a causal network is made of.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.1
"""

from dataclasses import dataclass
from typing import Literal

from lean3d.errors import ConversionError
from lean3d.typed import check_types

__all__ = ["Dissect"]

Skip = Literal["concat", "sum", "none"]
Head = Literal["mean", "window"]
First = Literal["replicate", "zeros"]


@dataclass(frozen=True)
class Dissect:
    """Make a 3D network look at the past only and keep the number of frames.

    Kernels are cut to the present and past frames: to `frames` at the stem, to two elsewhere, and
    in a residual block only the first sees the past. Strides and pools over time go. A tap whose
    frame the kernel no longer sees is added to that of the nearest frame it does see, so a still
    video keeps its answer; the stem of three frames keeps its three middle taps, a frame late.

    Args:
        skip: How a kernel sees the previous frame: side by side (two taps), added to the present
            one, or not at all.
        frames: What the stem sees: the present frame, or also the two before it.
        head: What pools over time in the end: the mean of all frames so far, or linear weights on
            each of the last `window` frames, equal at first.
        first: What stands before the first frame: copies of it, or zeros.
    """

    skip: Skip = "concat"
    frames: Literal[1, 3] = 3
    head: Head = "mean"
    window: int = 16
    first: First = "replicate"

    def __post_init__(self) -> None:
        check_types(self, ConversionError)
        if self.window < 1:
            raise ConversionError(f"Dissect: window is at least 1 frame, got {self.window}")
