"""`stream`: a model, its state outside it, and the steps between.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.1
Differs from the paper: the state belongs to the caller, holds any number of streams, and each
begins, ends and resets on its own. Networks that look ahead stream too, late.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError, ShapeError
from lean3d.streaming.causal import Causal
from lean3d.streaming.delayed import Waiting
from lean3d.streaming.guard import Made, check_state, check_training, check_values
from lean3d.streaming.inputs import (
    as_clip,
    check_after,
    check_batch,
    check_clip,
    check_options,
    check_size,
)
from lean3d.streaming.plan import Plan
from lean3d.streaming.probe import Survey, one_line, random_clip, survey
from lean3d.streaming.state import State, StateBytes, check_clock, chosen, reset, stack, unbind
from lean3d.weights import check_model

__all__ = ["Stream", "stream"]

# frames of the random clip that is compared, or a little more
LENGTH = 16


def stream(
    model: nn.Module,
    *,
    wait: bool = False,
    window: int | None = None,
    frame: tuple[int, int, int] | None = None,
    check: bool = True,
) -> "Stream":
    """Run `model` frame by frame, with the answers it gives on the whole clip.

    Args:
        model: A network in eval mode; it is used as it is, not copied.
        wait: Let a network look ahead as it was trained to: its answers are exact and `delay`
            frames late. Otherwise it must be causal.
        window: With `wait`, frames of the video that a mean over all time spans; by default all
            there were, so that the last answer is that to the whole video.
        frame: (C, H, W) of a frame the model accepts, for the checks; found if not given.
        check: Compare steps with a pass over a random clip before returning.

    Raises:
        LeanError: the model is in training mode, looks ahead (the layer is named), calls a function
            not known to stream, or steps give another answer than the clip.
    """
    if not isinstance(model, nn.Module):
        raise LeanError(f"stream takes a torch.nn.Module, got {type(model).__name__}")
    check_training({module: name for name, module in model.named_modules()}, "stream")
    check_options(wait, window, frame)
    check_model("stream", model)
    way = Waiting(model, window) if wait else Causal(model)
    live = Stream(model, way, survey(model, frame, way.measure))
    if check and window is not None:
        # without a window the last answer is that to the whole video, which can be compared
        stream(model, wait=True, frame=live.found.frame)
    elif check:
        with torch.no_grad():
            frames = live.chunk * max(2, -(-LENGTH // live.chunk))
            way.prove(live, random_clip(model, live.found.frame, frames))
    return live


class Stream(nn.Module):
    """A model that steps; made by `lean3d.stream`.

    As a module it is the step itself, (frames, state) -> (output, state), for export: see
    `lean3d export`.

    Attributes:
        model: The model, unchanged.
        chunk: Frames a step takes: 1, or the product of the strides in time.
    """

    stack, unbind, reset = staticmethod(stack), staticmethod(unbind), staticmethod(reset)

    def __init__(self, model: nn.Module, way: Causal | Waiting, found: Survey):
        super().__init__()
        self.model, self.way, self.found, self.chunk = model, way, found, found.chunk
        self._modules_of = {module: name for name, module in model.named_modules()}
        # by frame size and precision; a plan never changes, so threads need no lock to share it
        self._layouts: dict[tuple[Any, ...], Plan] = {(*found.frame, self._like.dtype): found.plan}
        self._made = Made()
        self.training = False

    @property
    def waits(self) -> bool:
        """Whether answers come late because the network looks ahead."""
        return isinstance(self.way, Waiting)

    @property
    def delay(self) -> int:
        """Frames that must follow a frame before its answer is there; 0 for a causal network."""
        return self.found.plan.delay

    @property
    def receptive_field(self) -> float:
        """Frames an answer depends on; infinite if all there were, or more than 256."""
        return self.way.field(self)

    def init(
        self,
        batch_size: int = 1,
        *,
        height: int | None = None,
        width: int | None = None,
        channels: int | None = None,
    ) -> State:
        """The state before the first frame; without a size, the first frame gives it."""
        check_batch(batch_size, "init")
        device, clock = self._like.device, self.way.clock
        state = {k: torch.full((batch_size,), value, device=device) for k, value in clock.items()}
        if height is None and width is None and channels is None:
            return state
        return self._plan(self._size(height, width, channels)).whole(state)

    def end(
        self,
        state: Mapping[str, Tensor],
        which: Sequence[int] | Tensor | None = None,
        *,
        after: int = 0,
    ) -> State:
        """Say that streams (all by default) have had their last frame, or have it `after` more.

        Whatever is stepped after it, for `delay` frames, brings out the answers still due.
        """
        if not self.waits:
            raise LeanError("end is for stream(wait=True); a causal network owes no answers")
        check_after(after)
        ends = chosen(which, check_clock(state, "end"), "end")
        return {**state, "end": torch.where(ends, state["t"] + after, state["end"])}

    @torch.no_grad()
    def step(self, frame: Tensor, state: Mapping[str, Tensor]) -> tuple[Any, State]:
        """One frame of every stream in, their answers and the next state out.

        Args:
            frame: (B, C, H, W), or (B, C, T, H, W) for T frames at once, a multiple of `chunk`.
            state: Is left as it is.

        Shape: the output of the model; for one frame (B, C, H, W), without its time axis. NaN where
            a network that waits has no answer yet.

        Raises:
            ShapeError: the frame or the state does not fit the model or the other.
            LeanError: a frame is not finite; says of which stream. The state can be used on.
        """
        like = self._like
        x_BCTHW = as_clip(frame, self.chunk, like, self)
        check_training(self._modules_of, "step")
        ours = self._made.all_of(state)
        if not ours:
            check_clock(state, "step")
        size = x_BCTHW.shape[1:2] + x_BCTHW.shape[3:]
        plan = self._layouts.get((*size, like.dtype)) or self._plan(size)
        if state.keys() == self.way.clock.keys() and not state["t"].any():
            state = plan.whole(state)
        check_state(state, plan.layout, len(x_BCTHW), like.device)
        if not ours:
            check_values(state, self._made, self.chunk)
        output, new = self._advance(x_BCTHW, state, plan.slots, careful=True)
        self._made.note(new)
        return (output if frame.ndim == 5 else self.found.squeeze(output)), new

    def forward(self, frames_BCTHW: Tensor, state: Mapping[str, Tensor]) -> tuple[Any, State]:
        """A step without checks and branches, for export and compilation."""
        size = frames_BCTHW.shape[1:2] + frames_BCTHW.shape[3:]
        slots = self._plan(size).slots if self.waits else ()
        return self._advance(frames_BCTHW, state, slots, careful=False)

    def _advance(
        self, x_BCTHW: Tensor, state: Mapping[str, Tensor], slots: Sequence[str], *, careful: bool
    ) -> tuple[Any, State]:
        output, memory = self.way.step(x_BCTHW, state, slots, careful=careful)
        clock = {key: state[key] for key in self.way.clock}
        return output, {**clock, "t": state["t"] + x_BCTHW.shape[2], **memory.new}

    @torch.no_grad()
    def run(self, clip_BCTHW: Tensor) -> Any:
        """The pass over a whole clip that stepping must equal.

        Shape: (B, C, T, H, W) -> (B, T, ...), one output per frame; (B, 1, ...) from a network that
            waits and gives one answer to a whole video.
        """
        check_clip(clip_BCTHW, self._like, self)
        self._plan(clip_BCTHW.shape[1:2] + clip_BCTHW.shape[3:])
        return self.way.run(clip_BCTHW, self.found)

    def state_bytes(
        self,
        batch_size: int = 1,
        *,
        height: int,
        width: int,
        channels: int | None = None,
    ) -> StateBytes:
        """Bytes of the state of `batch_size` streams, by what they hold."""
        check_batch(batch_size, "state_bytes")
        layout = self._plan(self._size(height, width, channels)).layout
        sizes = {key: batch_size * slot.bytes for key, slot in layout.items()}
        return StateBytes(sizes, {key: slot.kind for key, slot in layout.items()})

    @property
    def _like(self) -> Tensor:
        """A tensor of the model's precision and device."""
        floats = (p for p in self.model.parameters() if p.dtype.is_floating_point)
        return next(floats, torch.zeros(()))

    def _size(self, height: int | None, width: int | None, channels: int | None) -> torch.Size:
        size = (self.found.frame[0] if channels is None else channels, height, width)
        return check_size(size)

    @torch.no_grad()
    def _plan(self, size: torch.Size) -> Plan:
        """What a step on frames (C, H, W) keeps, found by one step from nothing."""
        key = (*size, self._like.dtype)
        plan = self._layouts.get(key)
        if plan is None:
            # threads that come at once each measure, and get the same
            plan = self._layouts[key] = self._measure(size)
        return plan

    def _measure(self, size: torch.Size) -> Plan:
        channels, *plane = size
        try:
            return self.way.measure(self._like.new_zeros(1, channels, self.chunk, *plane))
        except LeanError:
            raise
        except Exception as error:  # whatever a foreign forward raises on a size
            raise ShapeError(
                f"the model cannot run on frames (C, H, W) = {tuple(size)}: {one_line(error)}"
            ) from error
