"""Causal layers without a kernel: pools, plain windows, running means.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.1 ("same padding" at the
first frame, nothing padded after the last)
Differs from the paper: the paper's networks pool within frames only.

Axes: B batch, C channels, F features, T time, H height, W width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.limits import check_counts
from lean3d.ops import fast
from lean3d.ops.leaf import Leaf
from lean3d.ops.memory import First, carry, check_first, check_steps, past, precisely
from lean3d.shape import Triple, check_axes, triple

__all__ = [
    "CausalAvgPool3d",
    "CausalMaxPool3d",
    "LastFrames",
    "MaxSoFar",
    "MeanSoFar",
    "Past",
    "RunningMax",
    "RunningMean",
    "WithPrevious",
]


class Past(Leaf):
    """Prepends the preceding frames, for any operator without temporal padding.

    Shape: (B, C, T, ...) -> (B, C, frames + T, ...)
    State: (B, C, frames, ...), the past inputs.
    """

    def __init__(self, frames: int, first: First = "replicate"):
        super().__init__()
        check_counts("Past", low=0, frames=frames)
        check_first("Past", first)
        self.frames, self.first = frames, first

    def forward(self, x: Tensor) -> Tensor:
        return past(self, x, self.frames, self.first)

    def extra_repr(self) -> str:
        return f"{self.frames}, first={self.first!r}"


class WithPrevious(Leaf):
    """Adds the previous frame to each: the temporal skip connection by summation.

    Shape: (B, C, T, H, W) -> the same.
    State: (B, C, 1, H, W), the previous input.
    """

    def __init__(self, first: First = "replicate"):
        super().__init__()
        check_first("WithPrevious", first)
        self.first = first

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        both = past(self, x_BCTHW, 1, self.first)
        return both[:, :, :-1] + both[:, :, 1:]

    def extra_repr(self) -> str:
        return f"first={self.first!r}"


class CausalPool3d(Leaf):
    """The arguments of torch.nn's pools, with all temporal padding before the first frame.

    Args:
        past: Frames of padding before the first; by default as many as `padding` puts before and
            after.

    Shape: (B, C, T, H, W) -> (B, C, T', H', W'), the sizes nn.MaxPool3d would give.
    State: (B, C, past, H, W), the past inputs.
    """

    def __init__(
        self,
        kernel_size: int | Triple,
        stride: int | Triple | None = None,
        padding: int | Triple = 0,
        *,
        past: int | None = None,
    ):
        super().__init__()
        self.kernel_size = triple(kernel_size, "kernel_size")
        self.stride = self.kernel_size if stride is None else triple(stride, "stride")
        self.padding = triple(padding, "padding")
        self.past = 2 * self.padding[0] if past is None else past
        who = type(self).__name__
        for part in zip(self.kernel_size, self.stride, self.padding, strict=True):
            check_counts(who, kernel_size=part[0], stride=part[1])
            check_counts(who, low=0, padding=part[2], past=self.past)

    def window(self, x_BCTHW: Tensor, first: First) -> Tensor:
        check_axes(x_BCTHW, "B C T H W", self)
        check_steps(self, x_BCTHW, self.kernel_size[0], self.stride[0], self.past)
        return past(self, x_BCTHW, self.past, first)

    @property
    def size(self) -> tuple[Triple, Triple, Triple]:
        """Return kernel, stride and the remaining padding."""
        return self.kernel_size, self.stride, (0, self.padding[1], self.padding[2])

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}, past={self.past}"


class CausalMaxPool3d(CausalPool3d):
    """Max over the present and past frames; no padding counts before the first."""

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return fast.max_pool3d(self.window(x_BCTHW, -torch.inf), *self.size)


class CausalAvgPool3d(CausalPool3d):
    """Mean over the present and past frames; zeros of the border count, as in nn.AvgPool3d.

    Args:
        first: Padding before the first frame: "replicate" (copies of it) or "zeros".
    """

    def __init__(self, *size: Any, first: First = "replicate", **options: Any):
        super().__init__(*size, **options)
        check_first("CausalAvgPool3d", first)
        self.first = first

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return F.avg_pool3d(self.window(x_BCTHW, self.first), *self.size)


class RunningMean(Leaf):
    """Mean over space and over all frames up to each, for a causal squeeze-and-excitation.

    Args:
        skip: Frames at the start of a stream that do not count; up to there, the output is the
            frame's own.

    Shape: (B, C, T, H, W) -> (B, C, T, 1, 1); (B, F, T) -> (B, F, T)
    State: (B, C) in float32 or better, the mean; (B,) the number of frames.
    """

    skip = 0  # of modules that were stored before it could be chosen

    def __init__(self, skip: int = 0):
        super().__init__()
        check_counts("RunningMean", low=0, skip=skip)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        precise = precisely(x)
        x_BCT = precise.mean((3, 4)) if x.ndim == 5 else precise
        mean_BC, put_mean = carry(self, "mean", torch.zeros_like(x_BCT[:, :, 0]))
        start = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
        seen_B, put_seen = carry(self, "seen", start)
        step_T = torch.arange(1, x.shape[2] + 1, device=x.device)
        seen_BT = seen_B[:, None] + step_T
        # from the mean rather than the sum, which grows without bound
        change_BCT = x_BCT - mean_BC[:, :, None]
        counted_BT = seen_BT
        if self.skip:
            counts_B1T = (seen_BT > self.skip)[:, None]
            change_BCT = change_BCT * counts_B1T
            counted_BT = (seen_BT - self.skip).clamp(min=1)
        mean_BCT = mean_BC[:, :, None] + change_BCT.cumsum(2) / counted_BT[:, None]
        put_mean(mean_BCT[:, :, -1].clone())
        put_seen(seen_BT[:, -1].clone())
        if self.skip:
            mean_BCT = torch.where(counts_B1T, mean_BCT, x_BCT)
        return mean_BCT.to(x.dtype).reshape(*x.shape[:3], *[1] * (x.ndim - 3))


class RunningMax(Leaf):
    """Maximum over all frames up to each.

    Shape: (B, F, T) -> the same.
    State: (B, F), the maximum.
    """

    def forward(self, x_BFT: Tensor) -> Tensor:
        least = torch.full_like(x_BFT[:, :, 0], -torch.inf)
        max_BF, put_max = carry(self, "max", least)
        max_BFT = torch.maximum(x_BFT.cummax(2).values, max_BF[:, :, None])
        put_max(max_BFT[:, :, -1].clone())
        return max_BFT


class MaxSoFar(Leaf):
    """Replaces a maximum over the whole clip by that of all frames so far.

    Args:
        within: Pools each frame.
        last: For the last frame alone; otherwise for each.

    Shape: (B, C, T, H, W) -> (B, C, 1, H', W'), or (B, C, T, H', W')
    State: (B, C * H' * W'), the maximum.
    """

    def __init__(self, within: nn.Module, last: bool = True):
        super().__init__()
        self.within, self.max = within, RunningMax()
        if last:
            self.outputs_last_frame = True

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        y = self.within(x_BCTHW)
        max_BFT = self.max(y.transpose(1, 2).flatten(2).transpose(1, 2))
        max_BTF = max_BFT.transpose(1, 2)
        if hasattr(self, "outputs_last_frame"):
            max_BTF = max_BTF[:, -1:]
        return max_BTF.unflatten(2, (y.shape[1], *y.shape[3:])).transpose(1, 2)


class MeanSoFar(Leaf):
    """Replaces a pool over the whole clip by the mean of all frames so far, for the last frame.

    Args:
        within: Pools each frame.

    Shape: (B, C, T, H, W) -> (B, C, 1, H', W')
    State: (B, C * H' * W') in float32 or better, the mean; (B,) the number of frames.
    """

    outputs_last_frame = True

    def __init__(self, within: nn.Module):
        super().__init__()
        self.within, self.mean = within, RunningMean()

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        y = self.within(x_BCTHW)
        mean_BFT = self.mean(y.transpose(1, 2).flatten(2).transpose(1, 2))
        return mean_BFT[:, :, -1].unflatten(1, (y.shape[1], 1, *y.shape[3:]))


class LastFrames(Leaf):
    """Replaces a pool over the whole clip by the last frames, concatenated along channels.

    Args:
        within: Pools each frame.
        frames: How many.
        first: Padding before the first frame: "replicate" (copies of it) or "zeros".

    Shape: (B, C, T, H, W) -> (B, frames * C, 1, H', W'), the oldest frame first.
    State: (B, C, frames - 1, H', W'), the past frames.
    """

    outputs_last_frame = True

    def __init__(self, within: nn.Module, frames: int, first: First = "replicate"):
        super().__init__()
        check_counts("LastFrames", frames=frames)
        check_first("LastFrames", first)
        self.within, self.frames, self.first = within, frames, first

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        y = past(self, self.within(x_BCTHW), self.frames - 1, self.first)
        return y[:, :, -self.frames :].transpose(1, 2).flatten(1, 2).unsqueeze(2)

    def extra_repr(self) -> str:
        return f"{self.frames}, first={self.first!r}"
