"""Move an array to another grid that has the same axes: linear, and class by class for labels.

Axes: D depth, H height, W width.
"""

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["resample", "resample_classes", "resample_labels"]

# sides of the blocks in which labels are resampled
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
    """Resample class numbers as `resample_classes` does, whatever their number.

    A voxel between eight voxels of one class is of that class; elsewhere the eight weights of
    linear interpolation are added up by class. Blocks keep memory at the labels, before and after.

    Shape: (D, H, W) -> `size`, of the same type.
    """
    steps, offsets = np.asarray(step, dtype=float), np.asarray(offset, dtype=float)
    resampled = np.empty(size, dtype=label_DHW.dtype)
    for corner in product(*(range(0, side, BLOCK) for side in size)):
        place = tuple(
            slice(at, min(at + BLOCK, side)) for at, side in zip(corner, size, strict=True)
        )
        axes = zip(place, steps, offsets, label_DHW.shape, strict=True)
        ends = [_between(np.arange(at.start, at.stop) * a + b, side) for at, a, b, side in axes]
        resampled[place] = _heaviest(label_DHW, ends)
    return resampled


def _between(index: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the two voxels (2, N) that each place of an axis lies between, and their weights."""
    index = index.clip(0, side - 1)
    low = np.floor(index).astype(int)
    share = index - low
    return np.stack([low, np.minimum(low + 1, side - 1)]), np.stack([1 - share, share])


def _heaviest(label_DHW: np.ndarray, ends: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the class with the largest weight among the eight voxels around each place."""
    (d, d_weight), (h, h_weight), (w, w_weight) = ends
    corners = list(product((0, 1), repeat=3))
    around = [label_DHW[np.ix_(d[i], h[j], w[k])] for i, j, k in corners]
    winner = around[0]
    mixed = np.zeros(winner.shape, dtype=bool)
    for other in around[1:]:
        mixed |= other != winner
    at = np.nonzero(mixed)
    classes = np.stack([labels[at] for labels in around])
    weights = np.stack(
        [d_weight[i][at[0]] * h_weight[j][at[1]] * w_weight[k][at[2]] for i, j, k in corners]
    )
    best, chosen = np.full(len(at[0]), -1, dtype=np.float32), classes[0].copy()
    for own in classes:
        weight = np.where(classes == own, weights, 0).sum(0).astype(np.float32)
        wins = (weight > best) | (weight == best) & (own < chosen)
        np.copyto(best, weight, where=wins)
        np.copyto(chosen, own, where=wins)
    winner[at] = chosen
    return winner
