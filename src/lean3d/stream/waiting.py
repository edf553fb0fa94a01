"""How a conventional network steps: it waits for the frames its layers look ahead to.

The network is not changed. Each convolution and pool over time answers for the frames it has, so
its answers are late; joins hold back what is early; padding is put where the video begins and ends,
at every layer, as the pass over the whole video has it. The answers are that pass's, late.
Peer: continual-inference (Hedegaard and Iosifidis, arXiv:2204.03418) has the same delays for
networks written with its layers.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lean3d.ops.memory import Memory
from lean3d.stream.calls import CALLS
from lean3d.stream.clock import Clock, Pooled
from lean3d.stream.frames import Frames, frames_of, marked
from lean3d.stream.proof import check_steps_equal_video
from lean3d.stream.state import NEVER
from lean3d.stream.survey import Survey

__all__ = ["Waiting"]


@contextmanager
def path_of_the_running(model: nn.Module) -> Iterator[Callable[[], str]]:
    """Tells inside the block which module is running."""
    stack = [""]
    handles = []
    for path, module in model.named_modules():
        enter = lambda *_, path=path: stack.append(path)  # noqa: E731
        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(lambda *_: void(stack.pop())))
    try:
        yield lambda: stack[-1]
    finally:
        for handle in handles:
            handle.remove()


def void(_: Any) -> None:
    """A hook that returned something would change the output."""


class Waiting:
    """Steps of a network that looks ahead.

    Args:
        window: Frames of the video that a mean over time spans; None for all there were.

    Attributes:
        delay: Frames that must follow a frame before its answer is there.
    """

    clock: Mapping[str, int] = {"t": 0, "end": NEVER}

    def __init__(self, model: nn.Module, window: int | None = None):
        self.model, self.window = model, window
        self.slots: list[str] = []
        self.delay, self.span = 0, 1.0

    def step(
        self, x_BCTHW: Tensor, state: Mapping[str, Tensor], *, careful: bool
    ) -> tuple[Any, Memory]:
        """The output of one step, NaN where its answer is not there yet, and what it leaves.

        Args:
            careful: Look where the streams are; False for a graph that holds for every step.
        """
        slots = iter(self.slots)
        output, frames = self._pass(x_BCTHW, state, lambda memory, what: next(slots), careful)
        return frames.finish(output), frames.memory

    def first(self, x_BCTHW: Tensor) -> Memory:
        """What one step from nothing leaves; notes the slots in their order, and the delay."""
        start = {
            key: torch.full((len(x_BCTHW),), value, device=x_BCTHW.device)
            for key, value in self.clock.items()
        }
        slots: list[str] = []
        with path_of_the_running(self.model) as path:

            def site(memory: Memory, what: str) -> str:
                slot = memory.slot(path(), what)
                slots.extend([slot] if what else [])
                return slot

            output, frames = self._pass(x_BCTHW, start, site, careful=True)
        ends = [frames_of(y) for y in tree_leaves(output)]
        late = [y.late if isinstance(y, Pooled) else frames.clock.late(y) for y in ends if y]
        self.slots, self.delay = slots, max(late, default=0)
        self.span = max((y.field for y in ends if y), default=1)
        return frames.memory

    def _pass(
        self,
        x_BCTHW: Tensor,
        state: Mapping[str, Tensor],
        site: Callable[[Memory, str], str],
        careful: bool,
    ) -> tuple[Any, Frames]:
        memory = Memory(dict(state), {}, x_BCTHW, None)
        clock = Clock(state["t"], state["end"], x_BCTHW.shape[2], careful=careful)
        frames = Frames(memory, clock, CALLS, lambda what: site(memory, what), self.window)
        with frames:
            return self.model(marked(x_BCTHW, clock.start())), frames

    def run(self, clip_BCTHW: Tensor, found: Survey) -> Any:
        """The network's own outputs for a whole video: (B, T, ...), T = 1 for one answer."""
        return found.frames_second(self.model(clip_BCTHW))

    def field(self, live: Any) -> float:
        return self.span

    def prove(self, live: Any, clip_BCTHW: Tensor) -> None:
        check_steps_equal_video(live, clip_BCTHW)
