"""Steps of a causal network: its layers keep the state, and its outputs have no delay.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lean3d.ops import fast
from lean3d.ops.memory import Memory, every_frame, remember
from lean3d.shape import triple
from lean3d.streaming.plan import StatePlan, planned
from lean3d.streaming.probe import Survey, each, maps_of
from lean3d.streaming.proof import check_causal, check_steps_equal_clip
from lean3d.streaming.receptive_field import receptive_field

__all__ = ["Causal"]


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: object = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """nn.functional.conv3d by its fastest form."""
    if isinstance(padding, str):
        return F.conv3d(x, weight, bias, stride, padding, dilation, groups)
    size = (triple(stride), triple(padding), triple(dilation))
    return fast.conv3d(x, weight, bias, *size, groups)


def max_pool3d(
    x: Tensor,
    kernel_size: Any,
    stride: object = None,
    padding: object = 0,
    dilation: object = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """nn.functional.max_pool3d by its fastest form."""
    if ceil_mode or return_indices or triple(dilation) != (1, 1, 1):
        more: Any = (stride, padding, dilation, ceil_mode, return_indices)
        return F.max_pool3d(x, kernel_size, *more)
    size = (triple(kernel_size), triple(stride or kernel_size), triple(padding))
    return fast.max_pool3d(x, *size)


class Fast(TorchFunctionMode):
    """Computes torch.nn's functions on one frame by lean3d.ops.fast, not by ATen's slow loops."""

    calls: Mapping[Any, Callable[..., Any]] = {F.conv3d: conv3d, F.max_pool3d: max_pool3d}

    def __torch_function__(self, function: Any, types: object, args: Any = (), kwargs: Any = None):
        return self.calls.get(function, function)(*args, **(kwargs or {}))


class Causal:
    """Steps of a causal network."""

    clock: Mapping[str, int] = {"t": 0}

    def __init__(self, model: nn.Module):
        self.model = model
        self.names = {module: name for name, module in model.named_modules()}

    def step(
        self, x_BCTHW: Tensor, state: Mapping[str, Tensor], slots: Sequence[str], *, careful: bool
    ) -> tuple[Any, Memory]:
        """Return the output of one step, and its new state.

        Args:
            slots: Of delayed networks; here every module names its own.
            careful: Check whether any stream begins; False for a graph that holds for every step.
        """
        fresh = state["t"] == 0
        begins = not careful or bool(fresh.any())
        memory = Memory(dict(state), self.names, x_BCTHW, fresh if begins else None)
        with remember(memory), Fast() if careful else nullcontext():
            return self.model(x_BCTHW), memory

    def measure(self, x_BCTHW: Tensor) -> StatePlan:
        """Return the plan of the state, from one step without state."""
        nothing = {"t": torch.zeros(len(x_BCTHW), dtype=torch.int64, device=x_BCTHW.device)}
        return planned(self.step(x_BCTHW, nothing, (), careful=True)[1], self.clock)

    def run(self, clip_BCTHW: Tensor, found: Survey) -> Any:
        """Return the outputs of a clip, one for each step: (B, T, ...)."""
        with every_frame():
            output = found.frames_second(self.model(clip_BCTHW))
        if None not in found.run_axes:
            return output
        # the model gives an output for its last frame alone
        frames = range(found.chunk, clip_BCTHW.shape[2] + 1, found.chunk)
        answers = [self.model(clip_BCTHW[:, :, :t]) for t in frames]
        last = zip(*map(maps_of, answers), strict=True)

        def every(y: Tensor, axis: int | None) -> Tensor:
            one = next(last)
            return torch.stack(one, dim=1) if axis is None else y

        return each(output, found.run_axes, every)

    def field(self, live: object) -> float:
        return receptive_field(live)

    def prove(self, live: object, clip_BCTHW: Tensor) -> None:
        check_causal(self.model, clip_BCTHW)
        check_steps_equal_clip(live, clip_BCTHW)
