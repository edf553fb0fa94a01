"""State of modules between the steps of a stream, and its storage.

Modules keep no state. A module that mixes frames calls `past` for the frames before its input, or
`carry` for its last result. Over a whole clip these return values of the clip alone. While a
`Memory` is active they read from a step's state, and write the next one to it.

Axes: B batch, C channels, F features, T time, H height, W width.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import gcd
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError, ShapeError
from lean3d.limits import MOST_NUMBERS, check_memory
from lean3d.typed import fits, shortened

__all__ = [
    "ChunkError",
    "First",
    "Memory",
    "carry",
    "check_first",
    "check_steps",
    "every_frame",
    "every_frame_asked",
    "past",
    "precisely",
    "remember",
]

First = Literal["replicate", "zeros"] | float
Kind = Literal["input", "map", "feature", "recurrent"]
# frames in front from which on their memory is checked before it is taken
MANY = 10_000

# torch.compile and torch.export support threading.local, but not ContextVar
_LOCAL = threading.local()


class ChunkError(ShapeError):
    """The number of frames of a step is not a multiple of a temporal stride.

    Args:
        factor: The number of frames times this would be accepted.
    """

    def __init__(self, message: str, factor: int):
        super().__init__(message)
        self.factor = factor


class Memory:
    """One step: the state it reads, and the next one in `new`.

    Args:
        state: Tensors by slot, batch first; a missing slot is read as at the start of a stream.
        names: The path of every module of the model.
        frames: The step's input, to distinguish a cache of it from caches of feature maps.
        fresh: (B,) bool, the streams whose first step this is; None when there are none.
    """

    def __init__(
        self,
        state: dict[str, Tensor],
        names: dict[nn.Module, str],
        frames: Tensor,
        fresh: Tensor | None,
    ):
        self.state, self.names, self.frames, self.fresh = state, names, frames, fresh
        self.new: dict[str, Tensor] = {}
        self.kinds: dict[str, Kind] = {}

    def slot(self, path: str, what: str) -> str:
        """Return a slot name for the module at `path`, numbered if it is called again."""
        name = first = f"{path}.{what}".lstrip(".")
        again = 1
        while name in self.new:
            again += 1
            name = f"{first}#{again}"
        return name

    def read(self, slot: str, first: Tensor) -> Tensor:
        """Return the slot's tensor, `first` for the streams that begin."""
        old = self.state.get(slot)
        if old is None:
            return first
        if self.fresh is None:
            return old
        begins = self.fresh.view(-1, *[1] * (old.ndim - 1))
        return torch.where(begins, first, old)

    def write(self, slot: str, value: Tensor, kind: Kind) -> None:
        self.new[slot], self.kinds[slot] = value, kind

    def window(self, slot: str, x: Tensor, frames: int, first: First) -> Tensor:
        """Return `x` with `frames` earlier frames prepended; keep the last for the next step."""
        window = torch.cat([self.read(slot, before(x, frames, first)), x], dim=2)
        kind: Kind = "input" if x is self.frames else "map" if x.ndim == 5 else "feature"
        # a view would keep the whole window alive
        self.write(slot, window[:, :, window.shape[2] - frames :].clone(), kind)
        return window


def active() -> Memory | None:
    """Return the memory of the step that is running in this thread, if there is one."""
    return getattr(_LOCAL, "memory", None)


@contextmanager
def remember(memory: Memory) -> Iterator[Memory]:
    """Run a model's forward as one step."""
    outer, _LOCAL.memory = active(), memory
    try:
        yield memory
    finally:
        _LOCAL.memory = outer


@contextmanager
def every_frame() -> Iterator[None]:
    """Make heads return (B, T, ...) for every frame, not (B, ...) for the last one."""
    outer, _LOCAL.every = every_frame_asked(), True
    try:
        yield
    finally:
        _LOCAL.every = outer


def every_frame_asked() -> bool:
    """Whether a head should return an output for every frame."""
    return getattr(_LOCAL, "every", False)


def before(x: Tensor, frames: int, first: First) -> Tensor:
    """Return the padding before the first of the frames `x`: copies of it, or a number."""
    if first == "replicate":
        return x[:, :, :1].expand(-1, -1, frames, *x.shape[3:])
    shape = (x.shape[0], x.shape[1], frames, *x.shape[3:])
    return x.new_full(shape, 0.0 if first == "zeros" else first)


def past(owner: nn.Module, x: Tensor, frames: int, first: First) -> Tensor:
    """Return `x` (B, C, T, ...) with the `frames` preceding frames prepended.

    Args:
        first: Padding before the first frame of all: "replicate" for copies of it, "zeros" or a
            number.

    State: (B, C, frames, ...), nothing when `frames` is 0.
    """
    if frames == 0:
        return x
    if frames > MANY and not torch.compiler.is_compiling():
        step = x.numel() // max(x.shape[2], 1) * x.element_size()
        check_memory(f"{frames:,} frames in front", frames * step, "give a smaller past")
    memory = active()
    if memory is not None:
        return memory.window(memory.slot(memory.names[owner], "past"), x, frames, first)
    return torch.cat([before(x, frames, first), x], dim=2)


def carry(owner: nn.Module, what: str, first: Tensor) -> tuple[Tensor, Callable[[Tensor], None]]:
    """Return what `owner` kept at the previous step, or `first`; and a function to keep the next.

    State: the shape of `first`, batch first.
    """
    memory = active()
    if memory is None:
        return first, lambda value: None
    slot = memory.slot(memory.names[owner], what)
    return memory.read(slot, first), lambda value: memory.write(slot, value, "recurrent")


def precisely(x: Tensor) -> Tensor:
    """Return the tensor in float32 or better, the precision in which running means are kept."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_first(who: str, first: object) -> None:
    """Refuse what is no padding before the first frame.

    Raises:
        LeanError: names the owner and the value.
    """
    # -inf is the padding of a maximum
    number: Any = first if fits(first, float) else math.nan
    finite = abs(number) < MOST_NUMBERS or number == -math.inf
    if first not in ("replicate", "zeros") and not finite:
        raise LeanError(f"{who}: first is 'replicate', 'zeros' or a number, got {shortened(first)}")


def check_steps(owner: nn.Module, x: Tensor, kernel: int, stride: int, past: int) -> None:
    """In a step: refuse a window that does not make one frame of every `stride` frames.

    Args:
        kernel: Frames the window spans, dilation included.
        past: Frames of padding before the first.
    """
    if active() is None:
        return
    who = f"{type(owner).__name__} with a window of {kernel} frames and stride {stride} in time"
    if not kernel - stride <= past < kernel:
        raise ShapeError(
            f"{who} needs {kernel - stride} to {kernel - 1} frames in front to be streamed, it has "
            f"{past}"
        )
    if x.shape[2] % stride:
        raise ChunkError(
            f"{who} steps through multiples of {stride} frames, got {x.shape[2]}",
            stride // gcd(stride, x.shape[2]),
        )
