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
from lean3d.shape import check_axes
from lean3d.stream.causal import Causal
from lean3d.stream.entry import as_clip
from lean3d.stream.state import (
    Layout,
    Slot,
    State,
    StateBytes,
    check_state,
    chosen,
    reset,
    stack,
    unbind,
)
from lean3d.stream.survey import Survey, random_clip, survey
from lean3d.stream.waiting import Waiting

__all__ = ["Stream", "stream"]


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
    trained = [name for name, module in model.named_modules() if module.training]
    if trained:
        raise LeanError(
            f"stream needs a model in eval mode, call model.eval() first "
            f"({trained[0] or type(model).__name__} is in training mode)"
        )
    if window is not None and not (wait and window > 0):
        raise LeanError(f"stream takes window=, a number of frames, with wait=True; got {window}")
    way = Waiting(model, window) if wait else Causal(model)
    live = Stream(model, way, survey(model, frame, way.first))
    if check and window is not None:
        # without a window the last answer is that to the whole video, which can be compared
        stream(model, wait=True, frame=live.found.frame)
    elif check:
        with torch.no_grad():
            way.prove(live, random_clip(model, live.found.frame, 2 * max(8, live.chunk)))
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
        self._layouts: dict[tuple[Any, ...], Layout] = {}
        self.eval()

    @property
    def waits(self) -> bool:
        """Whether answers come late because the network looks ahead."""
        return isinstance(self.way, Waiting)

    @property
    def delay(self) -> int:
        """Frames that must follow a frame before its answer is there; 0 for a causal network."""
        return self.way.delay

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
        if batch_size < 1:
            raise ShapeError(f"init takes 1 stream or more, got batch_size={batch_size}")
        device, clock = self._like.device, self.way.clock
        state = {k: torch.full((batch_size,), value, device=device) for k, value in clock.items()}
        if height is None and width is None:
            return state
        return self._whole(state, self._size(height, width, channels))

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
        if after < 0:
            raise LeanError(f"end takes frames still to come, 0 or more, got after={after}")
        ends = chosen(which, state["t"], "end")
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
        x_BCTHW = as_clip(frame, self.chunk, self._like.dtype, self)
        if not isinstance(state, Mapping):
            raise ShapeError(f"a step takes the state init() made, got {type(state).__name__}")
        size = x_BCTHW.shape[1:2] + x_BCTHW.shape[3:]
        if state.keys() == self.way.clock.keys():
            state = self._whole(state, size)
        check_state(state, self._layout(size), len(x_BCTHW))
        output, new = self._advance(x_BCTHW, state, careful=True)
        return (output if frame.ndim == 5 else self.found.squeeze(output)), new

    def forward(self, frames_BCTHW: Tensor, state: Mapping[str, Tensor]) -> tuple[Any, State]:
        """A step without checks and branches, for export and compilation."""
        return self._advance(frames_BCTHW, state, careful=False)

    def _advance(
        self, x_BCTHW: Tensor, state: Mapping[str, Tensor], *, careful: bool
    ) -> tuple[Any, State]:
        output, memory = self.way.step(x_BCTHW, state, careful=careful)
        clock = {key: state[key] for key in self.way.clock}
        return output, {**clock, "t": state["t"] + x_BCTHW.shape[2], **memory.new}

    @torch.no_grad()
    def run(self, clip_BCTHW: Tensor) -> Any:
        """The pass over a whole clip that stepping must equal.

        Shape: (B, C, T, H, W) -> (B, T, ...), one output per frame; (B, 1, ...) from a network that
            waits and gives one answer to a whole video.
        """
        check_axes(clip_BCTHW, "B C T H W", self)
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
        layout = self._layout(self._size(height, width, channels))
        sizes = {key: batch_size * slot.bytes for key, slot in layout.items()}
        return StateBytes(sizes, {key: slot.kind for key, slot in layout.items()})

    @property
    def _like(self) -> Tensor:
        """A tensor of the model's precision and device."""
        floats = (p for p in self.model.parameters() if p.dtype.is_floating_point)
        return next(floats, torch.zeros(()))

    def _size(self, height: int | None, width: int | None, channels: int | None) -> torch.Size:
        if height is None or width is None:
            raise ShapeError(f"Stream needs height and width of a frame, got {height} and {width}")
        return torch.Size([channels or self.found.frame[0], height, width])

    @torch.no_grad()
    def _layout(self, size: torch.Size) -> Layout:
        """What the state holds for frames (C, H, W), found by one step from nothing."""
        key = (*size, self._like.dtype)
        if key not in self._layouts:
            channels, *plane = size
            x_BCTHW = self._like.new_zeros(1, channels, self.chunk, *plane)
            try:
                memory = self.way.first(x_BCTHW)
            except LeanError:
                raise
            except Exception as error:  # whatever a foreign forward raises on a size
                why = (str(error) or type(error).__name__).splitlines()[0]
                raise ShapeError(
                    f"the model cannot run on frames (C, H, W) = {tuple(size)}: {why}"
                ) from error
            clock = {key: Slot((), torch.int64, "clock") for key in self.way.clock}
            kept = memory.new.items()
            slots = {k: Slot(tuple(v.shape[1:]), v.dtype, memory.kinds[k]) for k, v in kept}
            self._layouts[key] = {**clock, **slots}
        return self._layouts[key]

    def _whole(self, state: Mapping[str, Tensor], size: torch.Size) -> State:
        batch, device = len(state["t"]), state["t"].device
        slots = self._layout(size).items()
        blank = {k: torch.zeros(batch, *s.shape, dtype=s.dtype, device=device) for k, s in slots}
        return {**blank, **state}
