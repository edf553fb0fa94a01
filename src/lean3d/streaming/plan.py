"""The plan of a step's state for one frame size: measured once, then read by any number of threads.

Axes: B batch, C channels, T time, H height, W width.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType

import torch
from torch import Tensor, nn

from lean3d.ops.memory import Memory
from lean3d.streaming.state import Layout, Slot, State

__all__ = ["StatePlan", "planned", "running"]

# every call of a module passes through this function, whatever its class
CALL = nn.Module._call_impl.__code__


@dataclass(frozen=True)
class StatePlan:
    """Measured by one step without state.

    Args:
        layout: Shapes of the state.
        slots: Keys of the state in the order in which a step of a delayed network uses them.
        delay: Frames that must follow a frame before its output is there.
        span: Frames an output depends on.
    """

    layout: Layout
    slots: tuple[str, ...] = ()
    delay: int = 0
    span: float = 1.0

    def whole(self, state: Mapping[str, Tensor]) -> State:
        """Add blank caches to a state that has none."""
        batch, device = len(state["t"]), state["t"].device
        slots = self.layout.items()
        blank = {k: torch.zeros(batch, *s.shape, dtype=s.dtype, device=device) for k, s in slots}
        return {**blank, **state}


def planned(
    memory: Memory,
    clock: Mapping[str, int],
    slots: tuple[str, ...] = (),
    delay: int = 0,
    span: float = 1.0,
) -> StatePlan:
    """Return the plan, from the state that one step left in `memory`."""
    times = {key: Slot((), torch.int64, "clock") for key in clock}
    kept = memory.new.items()
    layout = {k: Slot(tuple(v.shape[1:]), v.dtype, memory.kinds[k]) for k, v in kept}
    return StatePlan({**times, **layout}, slots, delay, span)


def running(paths: Mapping[nn.Module, str]) -> str:
    """Return the path of the innermost module running in this thread; "" for none.

    Read from the call stack: hooks would be registered on a model that other threads are using.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is CALL and (path := paths.get(frame.f_locals["self"])) is not None:
            return path
        frame = frame.f_back
    return ""
