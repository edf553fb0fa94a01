"""What a stream of a network costs: the time of a step, or the bytes of its state.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.surgery.copies import duplicate
from lean3d.errors import LeanError
from lean3d.lightening.candidates import Option
from lean3d.lightening.clock import Clock, Place
from lean3d.lightening.price import ByCount
from lean3d.lightening.sites import Places
from lean3d.runtime.source import Runner
from lean3d.runtime.step_network import fused
from lean3d.streaming import StateBytes, Stream, stream

__all__ = ["ByState", "Live", "StepClock", "find_live", "in_steps"]


@dataclass(frozen=True)
class Live:
    """How a network streams.

    Args:
        wait: With a delay, because it is not causal.
        chunk: Frames of a step.
    """

    wait: bool
    chunk: int

    def stream(self, module: nn.Module, shape: Sequence[int]) -> Stream:
        """Return the stream of the network or of a part of it, on maps (B, C, T, H, W)."""
        frame = shape[1], shape[3], shape[4]
        return stream(module, wait=self.wait, frame=frame, check=False)

    @property
    def says(self) -> str:
        return "with a delay" if self.wait else "causal"


def find_live(model: nn.Module, arguments: tuple[Tensor, ...], target: str) -> Live:
    """Return how a network streams: causally if it can.

    Raises:
        LeanError: it does not stream at all.
    """
    if len(arguments) != 1 or arguments[0].ndim != 5:
        raise LeanError(f"lighten: {target} is of a stream, which takes one clip (B, C, T, H, W)")
    frame: Any = arguments[0].shape[1], *arguments[0].shape[3:]
    try:
        return Live(False, stream(model, frame=frame).chunk)
    except LeanError:
        pass
    try:
        return Live(True, stream(model, wait=True, frame=frame).chunk)
    except LeanError as error:
        raise LeanError(f"lighten: {target} is of a stream, and {error}") from error


def in_steps(places: Places, live: Live, frames: int) -> Places:
    """Return the places with the frames that each gets in a step.

    Args:
        frames: Of the example.
    """

    def per_step(shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 5:
            return shape
        batch, channels, own, *plane = shape
        return (batch, channels, max(1, round(live.chunk * own / frames)), *plane)

    return places.shaped([per_step(site.shape) for site in places.sites])


class ByState(ByCount):
    """Bytes of a stream's state: past maps, and what a delay keeps."""

    def __init__(self, live: Live, model: nn.Module, shape: Any, sites: Any):
        self.live = live
        super().__init__("state", model, shape, sites)

    def of(self, option: Option) -> tuple[float, float] | None:
        try:
            return super().of(option)
        except LeanError:  # this form does not stream
            return None

    def _of(self, place: Place) -> tuple[float, float]:
        if not place.site.convolves:  # it keeps nothing of the past
            return 0.0, 0.0
        if place.key not in self.known:
            module = place.module().eval().requires_grad_(False)
            found = self._bytes(module, place.shape)
            # a part has no clock of its own
            clock = sum(n for key, n in found.slots.items() if found.kinds[key] == "clock")
            self.known[place.key] = float(found.total - clock), 0.0
        return self.known[place.key]

    def measure(self, result: nn.Module) -> float:
        return float(self._bytes(result, self.shapes).total)

    def _bytes(self, module: nn.Module, shape: Sequence[int]) -> StateBytes:
        own = self.live.stream(module, shape)
        return own.state_bytes(shape[0], height=shape[3], width=shape[4])


@dataclass
class StepClock(Clock):
    """Times steps of streams, the batch norms fused."""

    live: Live = Live(False, 1)

    def runner(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> Runner:
        """Return a call that steps on with the same frames."""
        return self._steps(module, arguments, careful=True)

    def part(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> Runner:
        if arguments[0].ndim != 5:
            own = duplicate(module).eval().requires_grad_(False)
            return torch.no_grad()(own)
        # checks are made once a step, not once a part
        return self._steps(module, arguments, careful=False)

    def _steps(self, module: nn.Module, arguments: tuple[Tensor, ...], *, careful: bool) -> Runner:
        (frames,) = arguments
        own = duplicate(module).eval().requires_grad_(False)
        live = fused(self.live.stream(own, frames.shape))
        state = [live.init(len(frames), height=frames.shape[3], width=frames.shape[4])]
        advance: Any = live.step if careful else live.forward

        def step(x: Tensor) -> Any:
            with torch.no_grad():
                output, state[0] = advance(x, state[0])
            return output

        return step
