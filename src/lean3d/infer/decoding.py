"""From affinities of a volume in memory to instances, by name of the method.

Volumes larger than memory are decoded in blocks by `lean3d segment`.

Axes: K channels, D depth, H height, W width.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from lean3d.errors import RunError
from lean3d.infer.affinities import check_affinities, is_near
from lean3d.infer.block_components import block_components, check_components
from lean3d.infer.grid import blocks_of
from lean3d.infer.merging import agglomerate, check_thresholds
from lean3d.infer.stitch import consecutive
from lean3d.infer.watershed import Watershed
from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["components", "decode", "drop_small", "mutex_watershed"]

Method = Literal["watershed", "mutex", "components"]


def decode(
    affinity_KDHW: np.ndarray,
    offsets: Sequence[Triple],
    method: Method = "watershed",
    *,
    thresholds: Sequence[float] = (0.5,),
    scoring: str = "mean",
    watershed: Watershed | None = None,
    smallest: int = 0,
) -> Iterator[tuple[float | None, np.ndarray]]:
    """Turn affinities into instances.

    Args:
        offsets: (z, y, x) of each channel, as `read_channels` returns them; channels of foreground
            and boundary are left out.
        method: "watershed" makes fragments and merges them (waterz), "mutex" is the mutex watershed
            of all affinities, "components" joins neighbours of high affinity.
        thresholds: For watershed those of the merging, see `agglomerate`; for components the
            affinity above which neighbours are one.
        scoring: Of the merging; see `agglomerate`.
        watershed: Settings of the fragments; the defaults for these offsets otherwise.
        smallest: Instances of fewer voxels become background.

    Yields:
        Each threshold, None for mutex, with its labels (D, H, W) uint64; 0 is background.

    Shape: (K, D, H, W), float of 0 to 1 or uint8 of 0 to 255.

    Raises:
        RunError: there is no such method, or it does not take such offsets or options.
        ShapeError, DataError: these are no affinities.
    """
    results: Iterator[tuple[float | None, np.ndarray]]
    if method == "watershed":
        fragments = (watershed or Watershed(offsets=tuple(offsets))).whole(affinity_KDHW)
        results = agglomerate(
            affinity_KDHW, fragments, thresholds, offsets=offsets, scoring=scoring
        )
    elif method == "components":
        results = ((t, components(affinity_KDHW, offsets, t)) for t in check_thresholds(thresholds))
    elif method == "mutex":
        results = iter([(None, mutex_watershed(affinity_KDHW, offsets))])
    else:
        raise RunError(f"no method called {method!r}; there are watershed, mutex and components")
    for threshold, labels in results:
        yield threshold, drop_small(labels, smallest)


def components(
    affinity_KDHW: np.ndarray, offsets: Sequence[Triple], threshold: float = 0.5
) -> np.ndarray:
    """Label voxels that paths of nearest-neighbour affinities above the threshold join.

    A voxel that no such affinity joins to any other is background.

    Shape: (K, D, H, W) -> (D, H, W) uint64, from 1 in the order of their first voxels.
    """
    affinity_KDHW = check_affinities(affinity_KDHW, offsets)
    check_components(offsets, (threshold,))
    depth, height, width = affinity_KDHW.shape[1:]
    (block,) = blocks_of((depth, height, width), (depth, height, width))
    return consecutive(block_components(affinity_KDHW, block, offsets, threshold))


def mutex_watershed(
    affinity_KDHW: np.ndarray,
    offsets: Sequence[Triple],
    *,
    strides: Triple = (1, 1, 1),
) -> np.ndarray:
    """Segment by a mutex watershed of all affinities (Wolf et al., arXiv:1904.12654).

    Nearest neighbours attract by their affinity, long-range ones repel by 1 less theirs.

    Args:
        strides: Take long-range affinities at one voxel in this many only, along D, H, W.

    Shape: (K, D, H, W) -> (D, H, W) uint64, from 1.

    Raises:
        RunError: no long-range, or no nearest-neighbour offsets.
    """
    affinity_KDHW = check_affinities(affinity_KDHW, offsets)
    near = [k for k, offset in enumerate(offsets) if is_near(offset)]
    far = [k for k, o in enumerate(offsets) if k not in near and not isinstance(o, str)]
    if not near or not far:
        raise RunError(
            "a mutex watershed needs affinities of nearest and of long-range neighbours, such as "
            f"z1 y1 x1 z2 y9 x9; got offsets {list(offsets)}"
        )
    segmentation = require("bioimage_cpp.segmentation", extra="neurons")
    scale = 255 if affinity_KDHW.dtype == np.uint8 else 1
    weights = affinity_KDHW[near + far].astype(np.float32) / scale
    weights[len(near) :] = 1 - weights[len(near) :]
    ordered = [offsets[k] for k in near + far]
    return segmentation.mutex_watershed(weights, ordered, len(near), strides=strides)


def drop_small(labels: np.ndarray, smallest: int) -> np.ndarray:
    """Set instances of fewer voxels than `smallest` to 0; the others keep their numbers."""
    if smallest < 2:
        return labels
    found, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    kept = np.where(counts >= smallest, found, 0).astype(labels.dtype)
    return kept[inverse].reshape(labels.shape)
