"""The self-check of a causal network: frame-by-frame outputs must equal those of the whole clip.

Axes: B batch, C channels, T time, H height, W width.
"""

import torch
from torch import Tensor, nn

from lean3d.conversion.record import Check
from lean3d.conversion.surgery.copies import precise_copy
from lean3d.conversion.tolerance import STEPS, largest
from lean3d.conversion.trace.compare import tensors
from lean3d.errors import ConversionError
from lean3d.ops.memory import Memory, remember
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["compare_steps"]

FRAMES = 5


def compare_steps(
    model: nn.Module, result: nn.Module, arguments: tuple[Tensor, ...]
) -> tuple[Check, ...]:
    """Run the causal network on a short clip, and frame by frame.

    Raises:
        ConversionError: its last outputs differ; names the first module whose output does.
    """
    if any(tensor.is_meta for tensor in result.parameters()):
        return ()
    try:
        error, path = _both_ways(precise_copy(result, torch.float64), arguments[0].double())
    except RuntimeError as failed:
        why = str(failed).splitlines()[0]
        raise ConversionError(
            f"{type(model).__name__} cannot be made causal: with every frame kept it does not run "
            f"({why})"
        ) from failed
    size = (FRAMES, *arguments[0].shape[3:])
    check = Check("frame by frame", error <= STEPS, error, STEPS, size, path)
    if not check.passed:
        kind = type(result.get_submodule(path)).__name__
        raise ConversionError(
            f"{type(model).__name__} cannot be made causal: frame by frame it gives another output "
            f"than for the clip (error {error:.1e}), first at {path or 'the model itself'!r} "
            f"({kind}), which mixes frames by itself; pools over the clip are nn.AdaptiveAvgPool3d"
        )
    return (check,)


def _both_ways(model: nn.Module, example_BCTHW: Tensor) -> tuple[float, str]:
    """Return the errors of the last output and of every map, and the first module that differs."""
    clip_BCTHW = example_BCTHW[:1, :, :FRAMES]
    names = {module: path for path, module in model.named_modules()}
    expected, whole = _maps(model, clip_BCTHW)
    state: dict[str, Tensor] = {}
    steps = []
    for frame_BCTHW in clip_BCTHW.split(1, dim=2):
        with remember(Memory(state, names, frame_BCTHW, None)) as memory:
            got, maps = _maps(model, frame_BCTHW)
        state = memory.new
        steps.append(maps)
    errors = {
        path: _of_maps(clip, [step.get(path) for step in steps]) for path, clip in whole.items()
    }
    last = max((apart(x, y) for x, y in zip(expected, got, strict=True)), default=0.0)
    first = next((path for path, error in errors.items() if error > STEPS), "")
    return max(last, *errors.values(), 0.0), first


def _maps(model: nn.Module, clip_BCTHW: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return the outputs, and the last map of each module in the order of the calls."""
    watch = _Maps(model)
    outputs = tensors(watch.see(lambda: model(clip_BCTHW)))
    return outputs, watch.maps


class _Maps(Watch):
    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.maps: dict[str, Tensor] = {}

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 5:
            self.maps.pop(path, None)
            self.maps[path] = output.clone()


def _of_maps(clip_BCTHW: Tensor, steps: list[Tensor | None]) -> float:
    """Return the error of a module's map, if it has one frame a step."""
    frames = [step for step in steps if step is not None]
    shape = (*clip_BCTHW.shape[:2], 1, *clip_BCTHW.shape[3:])
    if clip_BCTHW.shape[2] != len(steps) or any(frame.shape != shape for frame in frames):
        return 0.0
    return apart(clip_BCTHW, torch.cat(frames, dim=2)) if len(frames) == len(steps) else 0.0


def apart(clip: Tensor, step: Tensor) -> float:
    """Return the largest difference of the last frames, relative to the largest value."""
    for axis, (frames, last) in enumerate(zip(clip.shape, step.shape, strict=False)):
        if clip.ndim == step.ndim and frames > last > 0:
            clip = clip.narrow(axis, frames - last, last)
    return largest(clip, step)
