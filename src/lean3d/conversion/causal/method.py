"""Dissect: the options of a causal conversion.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.1
"""

from dataclasses import dataclass
from typing import Literal

from lean3d.conversion.methods import register_method
from lean3d.errors import ConversionError
from lean3d.typed import check_types

__all__ = ["Dissect"]

Skip = Literal["concat", "sum", "none"]
Head = Literal["mean", "window"]
First = Literal["replicate", "zeros"]


@register_method("dissect", "a causal one, which frame-by-frame streams need (D3D)")
@dataclass(frozen=True)
class Dissect:
    """Make a 3D network causal and keep the number of frames.

    Kernels are cut to the present and past frames: to `frames` at the stem, to two elsewhere; in
    a residual block only the first kernel uses the past. Temporal strides and pools are removed.
    A tap of a removed frame is added to that of the nearest frame kept, so the output on a static
    video is unchanged; a stem of three frames keeps its three middle taps, delayed by one frame.

    Args:
        skip: How a kernel uses the previous frame: concatenated (two taps), added to the present
            one, or not at all.
        frames: Frames of the stem's kernel: the present one, or also the two before it.
        head: The final temporal pool: the mean of all frames so far, or linear weights on each of
            the last `window` frames, initialised to equal shares.
        first: Padding before the first frame: copies of it, or zeros.
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
