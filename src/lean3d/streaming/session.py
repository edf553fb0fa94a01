"""`stream`: a model, its state outside of it, and its steps.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.1
Differs from the paper: the state belongs to the caller, holds any number of streams, and each
begins, ends and resets on its own. Non-causal networks stream too, with a delay.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError, ShapeError
from lean3d.limits import memory_told
from lean3d.streaming.causal import Causal
from lean3d.streaming.delayed import Waiting
from lean3d.streaming.guard import Made, check_state, check_training, check_values
from lean3d.streaming.inputs import (
    as_clip,
    check_after,
    check_batch,
    check_clip,
    check_options,
    check_room,
    check_size,
)
from lean3d.streaming.plan import StatePlan
from lean3d.streaming.probe import Survey, one_line, probe, random_clip
from lean3d.streaming.state import State, StateBytes, check_clock, chosen, reset, stack, unbind
from lean3d.weights import check_model

__all__ = ["Stream", "stream"]

# frames of the random clip that is compared, at least
LENGTH = 16


def stream(
    model: nn.Module,
    *,
    wait: bool = False,
    window: int | None = None,
    frame: tuple[int, int, int] | None = None,
    check: bool = True,
) -> "Stream":
    """Run `model` frame by frame, with the same outputs as on the whole clip.

    Args:
        model: A network in eval mode; it is used as it is, not copied. Of what torch.compile made,
            the network itself is streamed.
        wait: Accept a non-causal network, unchanged: its outputs are exact and delayed by `delay`
            frames. Otherwise it must be causal.
        window: With `wait`, frames of the video that a mean over all time covers; by default all
            so far, so that the last output is that for the whole video.
        frame: (C, H, W) of a frame the model accepts, for the checks; found if not given.
        check: Compare steps with a pass over a random clip before returning.

    Raises:
        LeanError: the model is in training mode, is not causal (the layer is named), calls a
            function without a streaming rule, or steps differ from the clip.
    """
    if not isinstance(model, nn.Module):
        raise LeanError(f"stream takes a torch.nn.Module, got {type(model).__name__}")
    # what torch.compile makes of a network holds it; a stream runs one step of its own
    model = getattr(model, "_orig_mod", model)
    check_training({module: name for name, module in model.named_modules()}, "stream")
    check_options(wait, window, frame)
    check_model("stream", model)
    way = Waiting(model, window) if wait else Causal(model)
    live = Stream(model, way, probe(model, frame, way.measure))
    if check and window is not None:
        # without a window the last output is that for the whole video, which can be compared
        stream(model, wait=True, frame=live.found.frame)
    elif check:
        with torch.no_grad():
            frames = live.chunk * max(2, -(-LENGTH // live.chunk))
            way.prove(live, random_clip(model, live.found.frame, frames))
    return live


class Stream(nn.Module):
    """A streaming model; made by `lean3d.stream`.

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
        # by frame size and precision; plans are immutable, so threads need no lock to share them
        self._layouts: dict[tuple[Any, ...], StatePlan] = {
            (*found.frame, self._like.dtype): found.plan
        }
        self._made = Made()
        self.training = False

    @property
    def waits(self) -> bool:
        """Whether outputs are delayed because the network is non-causal."""
        return isinstance(self.way, Waiting)

    @property
    def delay(self) -> int:
        """Return the frames that must follow a frame before its output is there; 0 if causal."""
        return self.found.plan.delay

    @property
    def receptive_field(self) -> float:
        """Return the frames an output depends on; infinite if all so far, or more than 256."""
        return self.way.field(self)

    def init(
        self,
        batch_size: int = 1,
        *,
        height: int | None = None,
        width: int | None = None,
        channels: int | None = None,
    ) -> State:
        """Return the state before the first frame; without a size, the first frame sets it."""
        check_batch(batch_size, "init")
        device, clock = self._like.device, self.way.clock
        blank = height is None and width is None and channels is None
        plan = None if blank else self._plan(self._size(height, width, channels))
        each = 8 * len(clock) if plan is None else sum(slot.bytes for slot in plan.layout.values())
        check_room(f"the state of {batch_size:,} streams", batch_size * each, device)
        state = {k: torch.full((batch_size,), value, device=device) for k, value in clock.items()}
        return state if plan is None else plan.whole(state)

    def end(
        self,
        state: Mapping[str, Tensor],
        which: Sequence[int] | Tensor | None = None,
        *,
        after: int = 0,
    ) -> State:
        """Mark streams (all by default) as ended after their last frame, or `after` frames later.

        The next `delay` steps return the outputs still due, whatever frames they are given.

        Raises:
            LeanError: the stream is causal, or `after` is below 0.
        """
        if not self.waits:
            raise LeanError("end is for stream(wait=True); a causal network has no outputs to come")
        check_after(after)
        ends = chosen(which, check_clock(state, "end", ("end",)), "end")
        return {**state, "end": torch.where(ends, state["t"] + after, state["end"])}

    @torch.no_grad()
    def step(self, frame: Tensor, state: Mapping[str, Tensor]) -> tuple[Any, State]:
        """Take one frame of every stream; return their outputs and the next state.

        Args:
            frame: (B, C, H, W), or (B, C, T, H, W) for T frames at once, a multiple of `chunk`.
            state: Is not changed.

        Shape: the output of the model; for one frame (B, C, H, W), without its time axis. NaN where
            a delayed network has no output yet.

        Raises:
            ShapeError: the frame or the state does not fit the model or the other.
            LeanError: a frame is not finite; names the stream. The state is still valid.
        """
        like = self._like
        x_BCTHW = as_clip(frame, self.chunk, like, self)
        check_training(self._modules_of, "step")
        ours = self._made.all_of(state)
        if not ours:
            check_clock(state, "step")
        plan = self._plan_of(x_BCTHW)
        if state.keys() == self.way.clock.keys() and not state["t"].any():
            state = plan.whole(state)
        check_state(state, plan.layout, len(x_BCTHW), like.device)
        if not ours:
            check_values(state, self._made, self.chunk)
        with memory_told():
            output, new = self._advance(x_BCTHW, state, plan.slots, careful=True)
        self._made.note(new)
        return (output if frame.ndim == 5 else self.found.squeeze(output)), new

    def forward(self, frames_BCTHW: Tensor, state: Mapping[str, Tensor]) -> tuple[Any, State]:
        """Run a step without checks and branches, for export and compilation."""
        slots = self._plan_of(frames_BCTHW).slots if self.waits else ()
        return self._advance(frames_BCTHW, state, slots, careful=False)

    def _advance(
        self, x_BCTHW: Tensor, state: Mapping[str, Tensor], slots: Sequence[str], *, careful: bool
    ) -> tuple[Any, State]:
        output, memory = self.way.step(x_BCTHW, state, slots, careful=careful)
        clock = {key: state[key] for key in self.way.clock}
        return output, {**clock, "t": state["t"] + x_BCTHW.shape[2], **memory.new}

    @torch.no_grad()
    def run(self, clip_BCTHW: Tensor) -> Any:
        """Run the pass over a whole clip that the steps must equal.

        Shape: (B, C, T, H, W) -> (B, T, ...), one output per frame; (B, 1, ...) if a network
            with delay has one output for a whole video.
        """
        check_clip(clip_BCTHW, self._like, self)
        self._plan(clip_BCTHW.shape[1:2] + clip_BCTHW.shape[3:])
        with memory_told():
            return self.way.run(clip_BCTHW, self.found)

    def state_bytes(
        self,
        batch_size: int = 1,
        *,
        height: int,
        width: int,
        channels: int | None = None,
    ) -> StateBytes:
        """Return the bytes of the state of `batch_size` streams, by kind."""
        check_batch(batch_size, "state_bytes")
        layout = self._plan(self._size(height, width, channels)).layout
        sizes = {key: batch_size * slot.bytes for key, slot in layout.items()}
        return StateBytes(sizes, {key: slot.kind for key, slot in layout.items()})

    @property
    def _like(self) -> Tensor:
        """Return a tensor of the model's precision and device."""
        floats = (p for p in self.model.parameters() if p.dtype.is_floating_point)
        return next(floats, torch.zeros(()))

    def _size(self, height: int | None, width: int | None, channels: int | None) -> torch.Size:
        size = (self.found.frame[0] if channels is None else channels, height, width)
        return check_size(size)

    @torch.no_grad()
    def _plan(self, size: torch.Size) -> StatePlan:
        """Return the plan of a step on frames (C, H, W), measured by one step without state."""
        key = (*size, self._like.dtype)
        plan = self._layouts.get(key)
        if plan is None:
            # concurrent threads each measure, with the same result
            plan = self._layouts[key] = self._measure(size)
        return plan

    def _plan_of(self, frames: Tensor) -> StatePlan:
        """Return the plan of a step on frames (B, C, H, W) or (B, C, T, H, W)."""
        size = frames.shape[1:2] + frames.shape[-2:]
        return self._layouts.get((*size, self._like.dtype)) or self._plan(size)

    def _measure(self, size: torch.Size) -> StatePlan:
        channels, *plane = size
        try:
            return self.way.measure(self._like.new_zeros(1, channels, self.chunk, *plane))
        except LeanError:
            raise
        except Exception as error:  # a user's forward may raise anything on a size
            raise ShapeError(
                f"the model cannot run on frames (C, H, W) = {tuple(size)}: {one_line(error)}"
            ) from error
