"""Connected components of affinities, in blocks or whole: neighbours of high affinity are one.

Axes: K channels, D depth, H height, W width.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from lean3d.errors import RunError
from lean3d.infer.affinities import is_near
from lean3d.infer.grid import Block
from lean3d.infer.stitch import Pairs
from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["block_components", "check_components", "crossings"]

ONE: Triple = (1, 1, 1)
Slices = tuple[slice, ...]


def check_components(offsets: Sequence[Triple], thresholds: Sequence[float]) -> None:
    """Refuse what components cannot be made of.

    Raises:
        RunError: no offsets of nearest neighbours, or not one threshold.
    """
    if not any(is_near(offset) for offset in offsets):
        raise RunError(f"components need channels such as z1 y1 x1, got offsets {list(offsets)}")
    if len(thresholds) != 1:
        given = ", ".join(f"{value:g}" for value in thresholds) or "none"
        raise RunError(
            "the method components joins neighbours whose affinity is above one threshold, got "
            f"{given}; give one, such as --thresholds 0.5"
        )


def block_components(
    affinity_KDHW: np.ndarray, block: Block, offsets: Sequence[Triple], threshold: float
) -> np.ndarray:
    """Return for each voxel of a block the first voxel of its component there, 0 for background.

    A number n is voxel n - 1 of the volume, in C order. Background is a voxel that no affinity
    above the threshold joins to another, of its block or not.

    Shape: (K, d, h, w), the affinities of a block with one voxel around it -> the block's (d, h, w)
    uint64.
    """
    sparse = require("scipy.sparse", extra="neurons")
    graphs = require("scipy.sparse.csgraph", extra="neurons")
    shape, core = affinity_KDHW.shape[1:], block.inside(ONE)
    within, some = _inside(shape, core), np.zeros(shape, bool)
    voxels = np.arange(within.size, dtype=np.int32).reshape(shape)
    ends: list[np.ndarray] = []
    for here, there, joined in _joined(affinity_KDHW, offsets, threshold):
        some[here] |= joined
        some[there] |= joined
        both = joined & within[here] & within[there]
        ends.append(np.stack([voxels[here][both], voxels[there][both]]))
    first, second = np.concatenate(ends, 1)
    graph = sparse.coo_matrix(
        (np.ones(len(first), bool), (first, second)), shape=(within.size,) * 2
    )
    labels = graphs.connected_components(graph, directed=False)[1].reshape(shape)[core]
    _, places, inverse = np.unique(labels, return_index=True, return_inverse=True)
    numbers = (block.voxels((0, 0, 0)).ravel()[places] + 1).astype(np.uint64)
    return np.where(some[core], numbers[inverse].reshape(labels.shape), 0)


def crossings(
    number_DHW: np.ndarray,
    affinity_KDHW: np.ndarray,
    block: Block,
    offsets: Sequence[Triple],
    threshold: float,
) -> Pairs:
    """Return the numbers of a block, and those of other blocks, that affinities join.

    Shape: the block with one voxel around it, (d, h, w) uint64 and (K, d, h, w) -> two of (E,).
    """
    within = _inside(number_DHW.shape, block.inside(ONE))
    found = [np.zeros((0, 2), np.uint64)]
    for here, there, joined in _joined(affinity_KDHW, offsets, threshold):
        across = joined & (within[here] != within[there])
        pair = np.stack([number_DHW[here][across], number_DHW[there][across]], 1)
        found.append(np.unique(pair, axis=0))
    first, second = np.concatenate(found).T
    return first, second


def _joined(
    affinity_KDHW: np.ndarray, offsets: Sequence[Triple], threshold: float
) -> Iterator[tuple[Slices, Slices, np.ndarray]]:
    """Yield voxels, their neighbours, and whether the affinity of each pair is above."""
    shape = affinity_KDHW.shape[1:]
    limit = 255 * threshold if affinity_KDHW.dtype == np.uint8 else threshold
    for k, offset in enumerate(offsets):
        if is_near(offset):
            steps = list(zip(shape, offset, strict=True))
            here = tuple(slice(max(0, -o), n - max(0, o)) for n, o in steps)
            there = tuple(slice(max(0, o), n - max(0, -o)) for n, o in steps)
            yield here, there, affinity_KDHW[k][here] > limit


def _inside(shape: Sequence[int], core: Slices) -> np.ndarray:
    within = np.zeros(shape, bool)
    within[core] = True
    return within
