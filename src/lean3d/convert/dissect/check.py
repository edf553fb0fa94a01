"""The self-check of a causal network: frame by frame it must give the answer of the clip.

Axes: B batch, C channels, T time, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lean3d.convert.compare import tensors
from lean3d.convert.conversion import Check
from lean3d.convert.copies import precise_copy
from lean3d.errors import ConversionError
from lean3d.ops.memory import Memory, remember

__all__ = ["compare_steps"]

FRAMES = 5
TOLERANCE = 1e-4


def compare_steps(
    model: nn.Module, result: nn.Module, arguments: tuple[Tensor, ...]
) -> tuple[Check, ...]:
    """Run the causal network on a short clip, and frame by frame.

    Raises:
        ConversionError: its last answers differ; names the first module that does.
    """
    if any(tensor.is_meta for tensor in result.parameters()):
        return ()
    if len(arguments) > 1:
        raise ConversionError(f"Dissect: a clip (B, C, T, H, W) is the example, got {arguments}")
    error, path = _both_ways(precise_copy(result, torch.float64), arguments[0].double())
    size = (FRAMES, *arguments[0].shape[3:])
    check = Check("frame by frame", error <= TOLERANCE, error, TOLERANCE, size, path)
    if not check.passed:
        kind = type(result.get_submodule(path)).__name__
        raise ConversionError(
            f"{type(model).__name__} cannot be made causal: frame by frame it gives another answer "
            f"than for the clip (error {error:.1e}), first at {path or 'the model itself'!r} "
            f"({kind}), which mixes frames by itself; pools over the clip are nn.AdaptiveAvgPool3d"
        )
    return (check,)


def _both_ways(model: nn.Module, example_BCTHW: Tensor) -> tuple[float, str]:
    """The error of the last answer, and the first module whose last frame differs."""
    clip_BCTHW = example_BCTHW[:1, :, :FRAMES]
    seen: list[dict[str, Tensor]] = []
    names = {module: path for path, module in model.named_modules()}
    handles = [m.register_forward_hook(_note(seen, path)) for m, path in names.items()]
    try:
        seen.append({})
        expected = tensors(model(clip_BCTHW))
        state: dict[str, Tensor] = {}
        for frame_BCTHW in clip_BCTHW.split(1, dim=2):
            seen.append({})
            with remember(Memory(state, names, frame_BCTHW, None)) as memory:
                got = tensors(model(frame_BCTHW))
            state = memory.new
    finally:
        for handle in handles:
            handle.remove()
    error = max((apart(x, y) for x, y in zip(expected, got, strict=True)), default=0.0)
    differ = (p for p, x in seen[0].items() if apart(x, seen[-1].get(p, x)) > TOLERANCE)
    return error, next(differ, "")


def _note(seen: list[dict[str, Tensor]], path: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 5:
            seen[-1][path] = output[:, :, -1:].clone()

    return hook


def apart(clip: Tensor, step: Tensor) -> float:
    """The largest difference of the last frames, relative to the largest value."""
    if clip.ndim == 5 and clip.shape[2] > step.shape[2]:
        clip = clip[:, :, -step.shape[2] :]
    if clip.shape != step.shape:
        return float("inf")
    return float((clip - step).abs().max() / clip.abs().max().clamp(min=1e-30))
