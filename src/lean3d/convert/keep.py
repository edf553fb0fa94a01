"""Which resampling modules leave depth alone, for volumes with thick slices.

Downsamplings are counted by resolution, not by module: the strided branches of one block start
from the same image size and are one downsampling. Upsamplings that end above the last kept
resolution undo kept downsamplings, so they leave depth alone too.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lean3d.convert.geometry import pair
from lean3d.errors import ConversionError

__all__ = ["kept_paths"]

STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)
SAME_LEVEL = 0.75  # sizes that differ by less are one resolution

Call = tuple[str, int, int]  # path, height in, height out


def kept_paths(
    model: nn.Module, keep_depth: int | None, run: Callable[[], Any] = lambda: None
) -> set[str]:
    """Paths of the modules that leave depth alone.

    Args:
        keep_depth: How many downsamplings, at least 1; None for all.
        run: Calls the 2D model once, so that its resolutions can be seen.
    """
    down = {path for path, module in model.named_modules() if _shrinks(module)}
    up = {path for path, module in model.named_modules() if _enlarges(module)}
    if keep_depth is None:
        return down | up
    calls = _watch(model, down | up, run)
    levels = _levels(sorted({start for path, start, _ in calls if path in down}, reverse=True))
    if keep_depth > len(levels):
        raise ConversionError(
            f"keep_depth={keep_depth}, but the model downsamples {len(levels)} times; "
            "give a number up to that, or None for all"
        )
    smallest = min(levels[keep_depth - 1])
    kept = {path for path, start, _ in calls if path in down and start >= smallest}
    floor = min(end for path, start, end in calls if path in kept)
    for path, start, end in calls:
        if path in up and start < SAME_LEVEL * floor < floor < SAME_LEVEL * end:
            raise ConversionError(
                f"{path!r} enlarges {start} to {end} in one step, past the resolution {floor} "
                "where depth starts to follow height; choose another keep_depth"
            )
    kept |= {path for path, start, _ in calls if path in up and start >= SAME_LEVEL * floor}
    _check_shared(calls, kept, smallest, SAME_LEVEL * floor, up)
    return kept


def _shrinks(module: nn.Module) -> bool:
    if isinstance(module, STRIDED):
        stride = module.kernel_size if module.stride is None else module.stride
        return pair(stride)[0] > 1
    return isinstance(module, nn.PixelUnshuffle)


def _enlarges(module: nn.Module) -> bool:
    if isinstance(module, nn.ConvTranspose2d):
        return module.stride[0] > 1
    return isinstance(module, (nn.Upsample, nn.PixelShuffle))


def _levels(sizes: list[int]) -> list[list[int]]:
    levels: list[list[int]] = []
    for size in sizes:
        if levels and size > SAME_LEVEL * levels[-1][0]:
            levels[-1].append(size)
        else:
            levels.append([size])
    return levels


def _watch(model: nn.Module, paths: set[str], run: Callable[[], Any]) -> list[Call]:
    calls: list[Call] = []

    def note(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: calls.append(
            (path, inputs[0].shape[-2], output.shape[-2])
        )

    handles = [model.get_submodule(path).register_forward_hook(note(path)) for path in paths]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _check_shared(
    calls: list[Call], kept: set[str], smallest: int, floor: float, up: set[str]
) -> None:
    for path, start, _ in calls:
        if path in kept and start < (floor if path in up else smallest):
            raise ConversionError(
                f"{path!r} is used at resolutions on both sides of keep_depth; it cannot both "
                "keep and change depth, so give it two copies or choose another keep_depth"
            )
