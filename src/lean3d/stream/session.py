"""`stream`: a model, its state outside it, and the steps between.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.1
Differs from the paper: the state belongs to the caller, holds any number of streams, and each
begins, ends and resets on its own.

Axes: B batch (streams), C channels, T time, H height, W width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lean3d.errors import LeanError, ShapeError
from lean3d.ops.memory import Memory, every_frame, remember
from lean3d.shape import check_axes
from lean3d.stream.field import receptive_field
from lean3d.stream.proof import prove
from lean3d.stream.state import (
    Layout,
    Slot,
    State,
    StateBytes,
    check_state,
    reset,
    stack,
    unbind,
)
from lean3d.stream.survey import Survey, random_clip, survey

__all__ = ["Stream", "stream"]


def stream(
    model: nn.Module, *, frame: tuple[int, int, int] | None = None, check: bool = True
) -> "Stream":
    """Run `model` frame by frame, with the answers it gives on the whole clip.

    Args:
        model: A causal network in eval mode; it is used as it is, not copied.
        frame: (C, H, W) of a frame the model accepts, for the checks; found if not given.
        check: Compare steps with a pass over a random clip before returning.

    Raises:
        LeanError: the model is in training mode, looks ahead (the layer is named), or steps give
            another answer than the clip.
    """
    trained = [name for name, module in model.named_modules() if module.training]
    if trained:
        raise LeanError(
            f"stream needs a model in eval mode, call model.eval() first "
            f"({trained[0] or type(model).__name__} is in training mode)"
        )
    live = Stream(model, survey(model, frame, first_step))
    if check:
        prove(live, random_clip(model, live.found.frame, 2 * max(8, live.chunk)))
    return live


@torch.no_grad()
def first_step(model: nn.Module, frames_BCTHW: Tensor) -> Memory:
    """One step from nothing, and what it leaves."""
    names = {module: name for name, module in model.named_modules()}
    with remember(Memory({}, names, frames_BCTHW, None)) as memory:
        model(frames_BCTHW)
    return memory


class Stream(nn.Module):
    """A model that steps; made by `lean3d.stream`.

    As a module it is the step itself, (frames, state) -> (output, state), for export: see
    `lean3d export`.

    Attributes:
        model: The model, unchanged.
        chunk: Frames a step takes: 1, or the product of the strides in time.
    """

    stack, unbind, reset = staticmethod(stack), staticmethod(unbind), staticmethod(reset)

    def __init__(self, model: nn.Module, found: Survey):
        super().__init__()
        self.model, self.found, self.chunk = model, found, found.chunk
        self.names = {module: name for name, module in model.named_modules()}
        self._layouts: dict[tuple[int, ...], Layout] = {}
        self.eval()

    @property
    def delay(self) -> int:
        """Frames that must follow a frame before its answer is there: none."""
        return 0

    @property
    def receptive_field(self) -> float:
        """Frames an answer depends on, the present one included; infinite if all there were."""
        return receptive_field(self)

    def init(
        self,
        batch_size: int = 1,
        *,
        height: int | None = None,
        width: int | None = None,
        channels: int | None = None,
    ) -> State:
        """The state before the first frame; without a size, the first frame gives it."""
        like: dict[str, Any] = dict(dtype=torch.int64, device=self._like.device)
        state = {"t": torch.zeros(batch_size, **like)}
        if height is None and width is None:
            return state
        return self._whole(state, self._size(height, width, channels))

    @torch.no_grad()
    def step(self, frame: Tensor, state: Mapping[str, Tensor]) -> tuple[Any, State]:
        """One frame of every stream in, their answers and the next state out.

        Args:
            frame: (B, C, H, W), or (B, C, T, H, W) for T frames at once, a multiple of `chunk`.
            state: Is left as it is.

        Shape: the output of the model; for one frame (B, C, H, W), without its time axis.

        Raises:
            ShapeError: the frame or the state does not fit the model or the other.
            LeanError: a frame is not finite; says of which stream. The state can be used on.
        """
        x_BCTHW = self._frames(frame)
        if state.keys() <= {"t", "end"}:
            state = self._whole(state, x_BCTHW.shape[1:2] + x_BCTHW.shape[3:])
        layout = self._layout(x_BCTHW.shape[1:2] + x_BCTHW.shape[3:])
        check_state(state, layout, len(x_BCTHW))
        fresh = state["t"] == 0
        output, new = self._advance(x_BCTHW, state, fresh if fresh.any() else None)
        return (output if frame.ndim == 5 else self.found.squeeze(output)), new

    def forward(self, frames_BCTHW: Tensor, state: Mapping[str, Tensor]) -> tuple[Any, State]:
        """A step without checks and branches, for export and compilation."""
        return self._advance(frames_BCTHW, state, state["t"] == 0)

    def _advance(
        self, x_BCTHW: Tensor, state: Mapping[str, Tensor], fresh: Tensor | None
    ) -> tuple[Any, State]:
        memory = Memory(dict(state), self.names, x_BCTHW, fresh)
        with remember(memory):
            output = self.model(x_BCTHW)
        return output, {"t": state["t"] + x_BCTHW.shape[2], **memory.new}

    @torch.no_grad()
    def run(self, clip_BCTHW: Tensor) -> Any:
        """The pass over a whole clip that stepping must equal, one output per frame.

        Shape: (B, C, T, H, W) -> (B, T, ...)
        """
        check_axes(clip_BCTHW, "B C T H W", self)
        with every_frame():
            output = self.found.frames_second(self.model(clip_BCTHW))
        if set(self.found.run_axes) != {None}:
            return output
        # the model answers for its last frame alone
        frames = range(self.chunk, clip_BCTHW.shape[2] + 1, self.chunk)
        answers = [self.model(clip_BCTHW[:, :, :t]) for t in frames]
        return tree_map(lambda *last: torch.stack(last, dim=1), *answers)

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

    def _frames(self, frame: Tensor) -> Tensor:
        if frame.ndim == 5:
            check_axes(frame, "B C T H W", self)
        else:
            check_axes(frame, "B C H W", self)
        x_BCTHW = frame if frame.ndim == 5 else frame.unsqueeze(2)
        if x_BCTHW.shape[2] % self.chunk:
            raise ShapeError(
                f"this model strides over time: a step takes (B, C, T, H, W) with T a multiple of "
                f"{self.chunk} frames, got {x_BCTHW.shape[2]}"
            )
        if frame.dtype != self._like.dtype:
            raise ShapeError(
                f"the model computes in {self._like.dtype}, the frame is {frame.dtype}; convert it "
                "as in training"
            )
        finite = x_BCTHW.isfinite()
        if not finite.all():
            bad = (~finite.flatten(1).all(1)).nonzero().flatten().tolist()
            raise LeanError(
                f"the frame of stream {', '.join(map(str, bad))} holds NaN or infinity; nothing "
                "was computed, the state can be used on: leave the frame out or repair it"
            )
        return x_BCTHW

    @torch.no_grad()
    def _layout(self, size: torch.Size) -> Layout:
        """What the state holds for frames (C, H, W), found by one step from nothing."""
        key = (*size, self._like.dtype)
        if key not in self._layouts:
            channels, *plane = size
            x_BCTHW = self._like.new_zeros(1, channels, self.chunk, *plane)
            try:
                memory = first_step(self.model, x_BCTHW)
            except Exception as error:  # whatever a foreign forward raises on a size
                why = (str(error) or type(error).__name__).splitlines()[0]
                raise ShapeError(
                    f"the model cannot run on frames (C, H, W) = {tuple(size)}: {why}"
                ) from error
            kept = memory.new.items()
            slots = {k: Slot(tuple(v.shape[1:]), v.dtype, memory.kinds[k]) for k, v in kept}
            self._layouts[key] = {"t": Slot((), torch.int64, "clock"), **slots}
        return self._layouts[key]

    def _whole(self, state: Mapping[str, Tensor], size: torch.Size) -> State:
        batch, device = len(state["t"]), state["t"].device
        slots = self._layout(size).items()
        blank = {k: torch.zeros(batch, *s.shape, dtype=s.dtype, device=device) for k, s in slots}
        return {**blank, **state}
