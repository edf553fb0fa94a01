"""Move an array to another grid that has the same axes: linear, and class by class for labels.

Axes: D depth, H height, W width.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["resample", "resample_classes"]


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
