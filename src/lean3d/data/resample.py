"""Move an array to another grid that has the same axes: linear, and class by class for labels.

Axes: D depth, H height, W width.
"""

from collections.abc import Iterable
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["resample", "resample_classes", "resample_labels"]

# sides of the blocks in which labels are resampled: few classes are in each
BLOCK = 64


def resample(x_DHW: np.ndarray, step: ArrayLike, offset: ArrayLike, size: Triple) -> np.ndarray:
    """Interpolate `x` linearly at index `step * o + offset` for every output index o; edges repeat.

    Shape: (D, H, W) -> `size`, float32.
    """
    ndimage = require("scipy.ndimage", extra="volume")
    return ndimage.affine_transform(
        x_DHW.astype(np.float32, copy=False),
        np.asarray(step, dtype=float),
        np.asarray(offset, dtype=float),
        output_shape=size,
        output=np.float32,
        order=1,
        mode="nearest",
    )


def resample_classes(
    classes: Iterable[tuple[int, np.ndarray]],
    step: ArrayLike,
    offset: ArrayLike,
    size: Triple,
) -> np.ndarray:
    """Return for every output voxel the class with the largest resampled weight.

    Unlike nearest-label sampling this moves no border: halving the resolution leaves every shape
    centred where it was. Ties go to the class that comes first. Only one class is held on the new
    grid at a time.

    Args:
        classes: (class, its weight for every voxel); a probability, or 1 inside and 0 outside.

    Shape: (D, H, W) each -> `size`, int64.
    """
    best = np.full(size, -np.inf, dtype=np.float32)
    winner = np.zeros(size, dtype=np.int64)
    for value, weight_DHW in classes:
        weight = resample(weight_DHW, step, offset, size)
        wins = weight > best
        np.copyto(best, weight, where=wins)
        winner[wins] = value
    return winner


def resample_labels(
    label_DHW: np.ndarray, step: ArrayLike, offset: ArrayLike, size: Triple
) -> np.ndarray:
    """Resample class numbers as `resample_classes` does, in blocks and by the classes in each.

    Memory holds the labels, before and after, and one block; so 117 classes of a large CT take
    little more than the mask itself.

    Shape: (D, H, W) -> `size`, of the same type.
    """
    steps, offsets = np.asarray(step, dtype=float), np.asarray(offset, dtype=float)
    resampled = np.empty(size, dtype=label_DHW.dtype)
    for corner in product(*(range(0, side, BLOCK) for side in size)):
        depth, height, width = (min(BLOCK, n - at) for at, n in zip(corner, size, strict=True))
        shape = (depth, height, width)
        first = steps * corner + offsets
        last = steps * (np.array(corner) + shape - 1) + offsets
        # linear interpolation reads one voxel further; the first and last ones repeat
        low = np.clip(np.floor(first).astype(int) - 1, 0, np.array(label_DHW.shape) - 1)
        high = np.clip(np.ceil(last).astype(int) + 2, low + 1, label_DHW.shape)
        part = label_DHW[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        values = np.unique(part)
        block: np.ndarray | int = int(values[0])
        if len(values) > 1:
            weights = ((int(value), part == value) for value in values)
            block = resample_classes(weights, steps, first - low, shape)
        place = tuple(slice(at, at + side) for at, side in zip(corner, shape, strict=True))
        resampled[place] = block
    return resampled
