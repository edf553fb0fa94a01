"""Steps of a non-causal network: its outputs are delayed until their future frames are there.

The network is not changed. Each temporal convolution and pool runs on the frames received so far,
so its outputs are delayed; joins delay the earlier of their inputs; every layer pads at the start
and the end of the video, as in the pass over the whole video. The outputs equal those of that
pass, delayed. Related work: continual-inference (Hedegaard and Iosifidis, arXiv:2204.03418) has
the same delays for networks written with its layers.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lean3d.errors import LeanError
from lean3d.ops.memory import Memory
from lean3d.streaming.delayed_step import Frames, frames_of, marked
from lean3d.streaming.plan import StatePlan, planned, running
from lean3d.streaming.probe import Survey
from lean3d.streaming.proof import check_steps_equal_video
from lean3d.streaming.rules import CALLS, POOLED
from lean3d.streaming.state import NEVER
from lean3d.streaming.timing import Clock, Pooled, Timed

__all__ = ["Waiting"]

OTHER_PATH = (
    "stream(wait=True): the forward called other functions over time than for the first frame of "
    "this size: it depends on the values of its input, and cannot be streamed"
)


class Waiting:
    """Steps of a non-causal network. Instances are immutable.

    Args:
        window: Frames of the video that a mean over time covers; None for all so far.
    """

    clock: Mapping[str, int] = {"t": 0, "end": NEVER}

    def __init__(self, model: nn.Module, window: int | None = None):
        self.model, self.window = model, window
        self.paths = {module: name for name, module in model.named_modules()}

    def step(
        self, x_BCTHW: Tensor, state: Mapping[str, Tensor], slots: Sequence[str], *, careful: bool
    ) -> tuple[Any, Memory]:
        """Return the output of one step, NaN while there is none yet, and the new state.

        Args:
            slots: Those of the plan for frames of this size.
            careful: Check where the streams are; False for a graph that holds for every step.
        """
        left = list(reversed(slots))

        def site(memory: Memory, what: str) -> str:
            if not left:
                raise LeanError(OTHER_PATH)
            return left.pop()

        output, frames = self._pass(x_BCTHW, state, site, careful)
        if left:
            raise LeanError(OTHER_PATH)
        return frames.finish(output), frames.memory

    def measure(self, x_BCTHW: Tensor) -> StatePlan:
        """Return the state, its order and the delay of the outputs, from one step without state."""
        start = {
            key: torch.full((len(x_BCTHW),), value, device=x_BCTHW.device)
            for key, value in self.clock.items()
        }
        slots: list[str] = []

        def site(memory: Memory, what: str) -> str:
            slots.append(memory.slot(running(self.paths), what))
            return slots[-1]

        output, frames = self._pass(x_BCTHW, start, site, careful=True)
        ends = [y for y in map(frames_of, tree_leaves(output)) if isinstance(y, Timed | Pooled)]
        late = [y.late if isinstance(y, Pooled) else frames.clock.late(y) for y in ends]
        span = max((y.field for y in ends), default=1)
        return planned(frames.memory, self.clock, tuple(slots), max(late, default=0), span)

    def _pass(
        self,
        x_BCTHW: Tensor,
        state: Mapping[str, Tensor],
        site: Callable[[Memory, str], str],
        careful: bool,
    ) -> tuple[Any, Frames]:
        # the mark goes on a tensor of our own: another thread may be stepping the same frame
        x_BCTHW = x_BCTHW.view_as(x_BCTHW)
        memory = Memory(dict(state), {}, x_BCTHW, None)
        clock = Clock(state["t"], state["end"], x_BCTHW.shape[2], careful=careful)
        place = lambda: running(self.paths)  # noqa: E731
        frames = Frames(
            memory, clock, CALLS, POOLED, lambda what: site(memory, what), place, self.window
        )
        with frames:
            return frames.complete(self.model(marked(x_BCTHW, clock.start()))), frames

    def run(self, clip_BCTHW: Tensor, found: Survey) -> Any:
        """Return the network's own outputs for a whole video: (B, T, ...), T = 1 for one output."""
        return found.frames_second(self.model(clip_BCTHW))

    def field(self, live: Any) -> float:
        return live.found.plan.span

    def prove(self, live: object, clip_BCTHW: Tensor) -> None:
        check_steps_equal_video(live, clip_BCTHW)
