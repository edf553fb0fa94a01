"""Settings that follow from the data: classes, channels, spacing, crop, scale of intensities.

A crop covers about equal lengths along all axes, in voxels of the median spacing, as in Isensee et
al., nnU-Net, Nature Methods 18, 2021; so do the first downsamplings that leave a coarse depth
alone, and the scale of CT. The voxel budget is smaller, for a CPU.

Axes: D depth, H height, W width.
"""

import math
from collections.abc import Sequence

import numpy as np

from lean3d.data.intensity import foreground_scale, window
from lean3d.data.survey import Survey
from lean3d.errors import RunError
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["keep_depth", "patch", "scaling", "spacing"]

# voxels of a crop: 64 x 64 x 64
BUDGET = 64**3
# nnU-Net: coarser along one axis by this factor than along the others is anisotropic
COARSE = 3.0
# four values that say: zero mean and unit variance in every scan
BY_SCAN = (0.0, 0.0, 0.0, 0.0)


def spacing(found: Survey) -> tuple[float, ...] | None:
    """Return the median spacing; None if some file does not say how large its voxels are.

    Along a coarse axis it is the finest tenth's, so that few cases lose slices.
    """
    if not all(case.placed for case in found.cases):
        return None
    all_mm = np.array([case.spacing for case in found.cases])
    median = np.median(all_mm, axis=0)
    worst = int(median.argmax())
    if median[worst] > COARSE * np.delete(median, worst).max():
        median[worst] = np.percentile(all_mm[:, worst], 10)
    return tuple(float(f"{side:.4g}") for side in median)


def keep_depth(sides_mm: Sequence[float]) -> int:
    """Return how many downsamplings by 2 leave depth alone until voxels are nearly cubes."""
    depth, height, width = sides_mm
    return max(0, round(math.log2(depth / max(height, width))))


def patch(
    found: Survey, sides_mm: Sequence[float] | None, pools: int, kept: int = 0
) -> tuple[int, ...]:
    """Return the sides of a crop: equal lengths, within the median scan, divisible by the pools.

    Args:
        sides_mm: The spacing that the run resamples to, or None.
        pools: Downsamplings by 2 of the network.
        kept: How many of them leave depth alone.
    """
    own = np.median([case.spacing for case in found.cases], axis=0)
    sides = own if sides_mm is None else np.asarray(sides_mm, dtype=float)
    sizes = np.array([np.array(c.shape) * c.spacing / sides for c in found.cases])
    room = np.maximum(np.median(sizes, axis=0).round(), 1)
    factors = np.array([2 ** max(pools - kept, 0), 2**pools, 2**pools])
    # the crop grows along the axes that have room left, always in equal lengths
    crop = np.minimum(room, 1.0 / sides * sides.max())
    for _ in range(64):
        free = crop < room
        if not free.any() or crop.prod() >= BUDGET:
            break
        grown = (BUDGET / crop.prod()) ** (1 / free.sum())
        crop = np.minimum(room, np.where(free, crop * grown, crop))
    steps = np.maximum(1, np.where(crop >= room, np.ceil(crop / factors), (crop / factors).round()))
    return tuple(int(side) for side in steps * factors)


def scaling(
    recipe: SegmentationRecipe, found: Survey, train: Sequence[str], names: Sequence[str] | None
) -> tuple[float, ...]:
    """Return low, high, mean and deviation of every channel; four zeros: by the scan's own values.

    Args:
        train: Names of the cases to measure on.
        names: Of the channels, if the data give them: "CT" is one.
    """
    kinds = _kinds(recipe, found, names)
    values: list[float] = []
    for channel, kind in enumerate(kinds):
        if kind == "window":
            assert recipe.hu is not None
            scale = window(*recipe.hu)
        elif kind == "percentiles":
            scale = foreground_scale(found.values(channel, train))
        elif kind == "none":
            values += [-3e38, 3e38, 0.0, 1.0]
            continue
        else:
            values += BY_SCAN
            continue
        values += [scale.low, scale.high, scale.mean, scale.deviation]
    return tuple(float(f"{value:.6g}") for value in values)


def _kinds(recipe: SegmentationRecipe, found: Survey, names: Sequence[str] | None) -> list[str]:
    asked = list(recipe.intensity)
    if len(asked) not in (1, found.channels):
        raise RunError(
            f"recipe {recipe.name}: intensity has {len(asked)} values for {found.channels} "
            "channels; give one, or one for each channel"
        )
    asked = asked * found.channels if len(asked) == 1 else asked
    return [_kind(kind, recipe, found, names, i) for i, kind in enumerate(asked)]


def _kind(
    asked: str,
    recipe: SegmentationRecipe,
    found: Survey,
    names: Sequence[str] | None,
    channel: int,
) -> str:
    if asked != "auto":
        return asked
    named = names[channel].upper() if names and channel < len(names) else None
    if recipe.hu is not None and found.channels == 1:
        return "window"
    if not (named == "CT" if named is not None else found.ct(channel)):
        return "zscore"
    return "percentiles" if recipe.hu is None else "window"
