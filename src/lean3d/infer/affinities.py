"""What can be decoded: affinities of a volume, one channel an offset.

Axes: K channels, D depth, H height, W width.
"""

import math
from collections.abc import Sequence

import numpy as np

from lean3d.errors import DataError, ShapeError
from lean3d.shape import Triple

__all__ = ["check_affinities", "is_near"]


def check_affinities(affinity_KDHW: np.ndarray, offsets: Sequence[Triple | str]) -> np.ndarray:
    """Return the affinities as an array, if they can be decoded.

    Args:
        offsets: As `read_channels` returns them; foreground and boundary are from 0 to 1 too.

    Shape: (K, D, H, W), float of 0 to 1 or uint8 of 0 to 255; a tensor on the CPU too.

    Raises:
        ShapeError: they are not of K channels, one an offset, and at least one voxel.
        DataError: values are not affinities.
    """
    affinity = np.asarray(affinity_KDHW)
    if affinity.ndim != 4 or affinity.shape[0] != len(offsets) or not affinity.size:
        raise ShapeError(
            f"affinities are (K, D, H, W), one for each of {len(offsets)} channels, and at least "
            f"one voxel; got {affinity.shape}"
        )
    if affinity.dtype == np.uint8:
        return affinity
    if affinity.dtype.kind != "f":
        raise DataError(
            f"affinities are float of 0 to 1 or uint8 of 0 to 255, got {affinity.dtype}"
        )
    low, high = float(affinity.min()), float(affinity.max())
    if math.isnan(low):
        raise DataError("affinities are numbers from 0 to 1, got some that are NaN")
    # rounding may lead a little further
    if low < -1e-3 or high > 1 + 1e-3:
        raise DataError(
            f"affinities are from 0 to 1, got {low:.3g} to {high:.3g}; "
            "a network's outputs go through a sigmoid first"
        )
    return affinity


def is_near(offset: Triple | str) -> bool:
    """Whether a channel is the affinity to a nearest neighbour."""
    return not isinstance(offset, str) and sum(map(abs, offset)) == 1
