"""A step of a stream as a network of tensors, so that every backend may run it.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion import fold
from lean3d.runtime.graph import ExportedGraph, exported
from lean3d.runtime.source import Runner, Source
from lean3d.streaming import Stream
from lean3d.streaming import stream as to_stream

__all__ = ["StepNetwork", "StepSource", "fused"]

# of the clip on which the fused network is compared, at least
FRAMES = 16


class StepNetwork(nn.Module):
    """(frames, *state) -> (output, *next state).

    Args:
        keys: Of the state, in order.
        careful: Choose kernels by the values and sizes of a call; not for a graph. On a GPU no
            value is read.

    Shape: frames (B, C, T, H, W), T a multiple of the stream's `chunk`; the state as the stream
        keeps it.
    """

    def __init__(self, live: Stream, keys: Sequence[str], *, careful: bool):
        super().__init__()
        self.live, self.keys, self.careful = live, tuple(keys), careful
        self.training = False

    def forward(self, frames_BCTHW: Tensor, *values: Tensor) -> tuple[Any, ...]:
        state = dict(zip(self.keys, values, strict=True))
        if self.careful and frames_BCTHW.device.type == "cpu":
            slots = self.live._plan_of(frames_BCTHW).slots
            output, new = self.live._advance(frames_BCTHW, state, slots, careful=True)
        else:
            output, new = self.live(frames_BCTHW, state)
        return output, *(new[key] for key in self.keys)


@dataclass(frozen=True)
class StepSource(Source):
    """A step and its example: frames, and a state of some steps.

    Args:
        model: The step as it is.
    """

    model: StepNetwork

    @cached_property
    def fused(self) -> StepNetwork:
        """The step with batch norms fused and kernels materialised."""
        return StepNetwork(fused(self.model.live), self.model.keys, careful=True)

    @cached_property
    def graph(self) -> ExportedGraph:
        """The fused step as a graph, for any number of streams."""
        network = StepNetwork(self.fused.live, self.model.keys, careful=False)
        return exported(network, self.arguments, batch_alone=True)

    def outputs(self, run: Runner, sample: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the outputs without the state; those that are not due as zeros."""
        found = super().outputs(run, sample)
        return [torch.nan_to_num(y, nan=0.0) for y in found[: len(found) - len(self.model.keys)]]


def fused(live: Stream) -> Stream:
    """Return a stream whose network has its batch norms fused, with the same states."""
    channels, height, width = live.found.frame
    frames = live.chunk * -(-FRAMES // live.chunk)
    clip = torch.randn(1, channels, frames, height, width).to(live._like)
    folded = fold(live.model, example=clip)
    window = getattr(live.way, "window", None)
    return to_stream(folded, wait=live.waits, window=window, frame=live.found.frame, check=False)
