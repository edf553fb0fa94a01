"""Probes a model before streaming: frame size, temporal stride, output axes.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from lean3d.errors import LeanError
from lean3d.guesses import likely_channels, random_input
from lean3d.ops.memory import ChunkError, every_frame
from lean3d.streaming.plan import StatePlan

__all__ = ["Survey", "each", "maps_of", "one_line", "probe", "random_clip"]

SIDES = (32, 64, 112, 224)
FRAMES = 16
# frames of the longest step that is tried
LONGEST = 32
# what an output may hold beside lists, tuples and dicts
HELD = (Tensor, type(None), bool, int, float, str)
# axis of frames in an output; None for one output for all frames
Axes = tuple[int | None, ...]


@dataclass(frozen=True)
class Survey:
    """The results.

    Args:
        frame: (C, H, W) of a frame the model accepts.
        chunk: Frames a step takes.
        step_axes: The axes of frames in a step's outputs.
        run_axes: The same when heads give an output for every frame.
        plan: The plan of a step on frames of that size.
    """

    frame: tuple[int, int, int]
    chunk: int
    step_axes: Axes
    run_axes: Axes
    plan: StatePlan

    def squeeze(self, output: object) -> Any:
        """Return the outputs of a step of one frame, without their axis of frames."""
        return each(output, self.step_axes, lambda y, axis: y if axis is None else y.squeeze(axis))

    def frames_second(self, output: object, *, step: bool = False) -> Any:
        """Return the outputs of a clip, or of a step, as (B, T, ...)."""
        axes = self.step_axes if step else self.run_axes
        return each(
            output, axes, lambda y, axis: y.unsqueeze(1) if axis is None else y.movedim(axis, 1)
        )


def each(output: object, axes: Axes, change: Callable[[Tensor, int | None], Tensor]) -> Any:
    """Map a function over every tensor of an output; a None or a number beside them stays."""
    left = iter(axes)
    return tree_map_only(Tensor, lambda y: change(y, next(left)), output)


def maps_of(output: object) -> list[Tensor]:
    """Return the tensors of an output, in the order of `each`."""
    return [y for y in tree_leaves(output) if isinstance(y, Tensor)]


@torch.no_grad()
def probe(
    model: nn.Module, frame: Sequence[int] | None, measure: Callable[[Tensor], StatePlan]
) -> Survey:
    """Run the model at a small size and record the results.

    Args:
        measure: Returns the plan of a step, from one step without state.

    Raises:
        LeanError: no size was found on which the model runs.
    """
    found = find_frame(model, frame)
    chunk, plan = find_chunk(model, found, measure)
    plain = find_axes(model, found)
    with every_frame():
        every = find_axes(model, found)
    return Survey(found, chunk, plain, every, plan)


def random_clip(model: nn.Module, frame: Sequence[int], frames: int, batch: int = 1) -> Tensor:
    """Return a random clip (B, C, T, H, W) in the model's own precision."""
    channels, height, width = frame
    return random_input(model, (batch, channels, frames, height, width))


def one_line(error: BaseException | None) -> str:
    """Return torch's message, without its further lines."""
    return (str(error) or type(error).__name__).splitlines()[0]


def find_frame(model: nn.Module, frame: Sequence[int] | None) -> tuple[int, int, int]:
    if frame is not None:
        channels, height, width = frame
        try:
            model(random_clip(model, frame, FRAMES))
        except LeanError:
            raise
        except Exception as error:  # a user's forward may raise anything
            raise LeanError(
                f"stream: {type(model).__name__} cannot run on a clip (B, C, T, H, W) = "
                f"{(1, channels, FRAMES, height, width)}: {one_line(error)}"
            ) from error
        return channels, height, width
    frames = [(c, side, side) for c in likely_channels(model, 3) for side in SIDES]
    errors: list[Exception] = []
    for each in frames:
        try:
            model(random_clip(model, each, FRAMES))
            return each
        except Exception as error:  # a user's forward may raise anything; the size is skipped
            errors.append(error)
    # the last error of the most likely channels
    channels, why = frames[0][0], errors[len(SIDES) - 1]
    raise LeanError(
        f"stream found no clip that {type(model).__name__} accepts, from (1, {channels}, {FRAMES}, "
        f"{SIDES[0]}, {SIDES[0]}) to {SIDES[-1]} pixels; pass frame=(C, H, W) "
        f"(failed: {one_line(why)})"
    ) from why


def find_chunk(
    model: nn.Module, frame: Sequence[int], measure: Callable[[Tensor], StatePlan]
) -> tuple[int, StatePlan]:
    """Return the fewest frames that all temporal strides divide, and the plan of such a step."""
    last: Exception | None = None
    # `unit` frames fit all strides found so far
    chunk = unit = 1
    while chunk <= LONGEST:
        try:
            return chunk, measure(random_clip(model, frame, chunk))
        except ChunkError as error:
            last, chunk = error, chunk * error.factor
            unit = chunk
        except LeanError:
            raise
        except Exception as error:  # torch's for a window longer than the step, or the forward's
            last, chunk = error, chunk + unit
    raise LeanError(f"stream found no step of up to {LONGEST} frames: {one_line(last)}") from last


def find_axes(model: nn.Module, frame: Sequence[int]) -> Axes:
    """Return the axis along which an output grows with the clip."""
    sizes = []
    for frames in (FRAMES, FRAMES + LONGEST):
        output = model(random_clip(model, frame, frames))
        check_output(model, output)
        sizes.append([y.shape for y in maps_of(output)])
    found = tuple(
        next((axis for axis, (a, b) in enumerate(zip(*pair, strict=True)) if a != b), None)
        for pair in zip(*sizes, strict=True)
    )
    for axis, shape in zip(found, sizes[0], strict=True):
        if axis is not None and shape[0] != 1:
            raise LeanError(
                f"stream: {type(model).__name__} returns {tuple(shape)} for one clip of {FRAMES} "
                "frames: the first axis is not that of clips; keep it, squeeze(2) in place of "
                "squeeze()"
            )
    return found


def check_output(model: nn.Module, output: object) -> None:
    """Refuse an output in which tensors may be that are not seen, or without any."""
    odd = [y for y in tree_leaves(output) if not isinstance(y, HELD)]
    if odd or not maps_of(output):
        what = type(odd[0]).__name__ if odd else "no tensor"
        raise LeanError(
            f"stream: {type(model).__name__} returns {what}; return tensors, alone or in lists, "
            "tuples and dicts"
        )
