"""Coarser scales of a volume of labels: sizes that viewers open in place of the whole.

Axes: D depth (z), H height (y), W width (x).
"""

from collections.abc import Sequence

import numpy as np

from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["coarser_scales", "most_frequent"]

# a scale of no more voxels along any axis is the last one
SMALL = 128


def coarser_scales(shape: Triple, voxel_nm: Sequence[float]) -> list[Triple]:
    """Return how many voxels one of each coarser scale takes together along D, H, W.

    Every scale halves the axis of the smallest voxels, and those that are nearer to the new size
    so, as neuroglancer does: thick sections stay until voxels are as wide.
    """
    scales, factor = [], np.ones(3, int)
    while max(-(-n // f) for n, f in zip(shape, factor, strict=True)) > SMALL:
        sides = factor * np.asarray(voxel_nm, float)
        target = 2 * sides.min()
        halved = abs(sides - target) > abs(2 * sides - target)
        halved[sides.argmin()] = True
        factor = np.where(halved, 2 * factor, factor)
        depth, height, width = factor.tolist()
        scales.append((depth, height, width))
    return scales


def most_frequent(labels: np.ndarray, step: Triple) -> np.ndarray:
    """Return the most frequent label of every `step` voxels; the least of equally frequent ones.

    Shape: (D, H, W) -> (ceil(D / step), ...).
    """
    tensorstore = require("tensorstore", extra="neurons")
    store = tensorstore.downsample(tensorstore.array(labels), list(step), "mode")
    return np.asarray(store.read().result())
