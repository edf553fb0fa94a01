"""Compare the outputs of a 3D model on a volume made of one image with those of the 2D model.

Axes: B batch, C channels, D depth, H height, W width are 0 to 4.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from torch import Tensor

from lean3d.conversion.tolerance import largest

__all__ = ["difference", "same_sizes", "tensors"]

Size = tuple[int, ...]


def tensors(value: object) -> list[Tensor]:
    """Return the tensors in nested lists, tuples, dicts and dataclasses, in order."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        return []
    return [one for item in value for one in tensors(item)]


def difference(flat: object, deep: object, axis: int) -> float:
    """Return the largest difference, relative to the largest 2D value; infinite if shapes differ.

    Args:
        axis: The axis of the volume (2 or 3) along which it repeats the image.
    """
    pairs = tensors(flat), tensors(deep)
    if len(pairs[0]) != len(pairs[1]):
        return math.inf
    return max((_one(a, b, axis) for a, b in zip(*pairs, strict=True)), default=0.0)


def _one(flat: Tensor, deep: Tensor, axis: int) -> float:
    if deep.ndim == flat.ndim:
        return largest(flat, deep)
    if deep.ndim != flat.ndim + 1:
        return math.inf
    # (B, C, H, W) gains its axis where the volume has it, channels-last and label maps elsewhere
    places = {axis + deep.ndim - 5, *range(deep.ndim)} - {-1}
    return min(_repeated(flat, deep, place) for place in places)


def _repeated(flat: Tensor, deep: Tensor, place: int) -> float:
    """Return the difference from a 2D output that is repeated along an axis."""
    flat = flat.unsqueeze(place)
    return largest(flat.expand(*_with(flat.shape, place, deep.shape[place])), deep)


def same_sizes(
    wide: object, tall: object, deep: object, kept: tuple[int, int] | None = None
) -> bool:
    """Whether a 3D output has the expected size.

    Args:
        wide: 2D output on an image (H, W).
        tall: 2D output on an image (D, W), which shows how a length D changes.
        deep: 3D output on a volume (D, H, W).
        kept: (depth, height) of the volume if depth need not scale as height does. A map as high
            as the volume is then as deep as it is, and a lower one no deeper.
    """
    outputs = tensors(wide), tensors(tall), tensors(deep)
    if len({len(output) for output in outputs}) > 1:
        return False
    shapes = ([tuple(one.shape) for one in output] for output in outputs)
    return all(_fits(a, b, c, kept) for a, b, c in zip(*shapes, strict=True))


def _fits(wide: Size, tall: Size, deep: Size, kept: tuple[int, int] | None) -> bool:
    if len(deep) == len(wide):
        return wide == tall == deep
    for place in range(len(deep)):
        without = deep[:place] + deep[place + 1 :]
        grown = place < len(tall) and deep[place] == tall[place]
        if without == wide and (grown or (kept and _may_keep(wide, deep[place], *kept))):
            return True
    return False


def _may_keep(wide: Size, value: int, depth: int, height: int) -> bool:
    if len(wide) < 4 or wide[2] > height:
        return True
    return value == depth if wide[2] == height else value <= depth


def _with(shape: Size, place: int, value: int) -> Size:
    return (*shape[:place], value, *shape[place + 1 :])
