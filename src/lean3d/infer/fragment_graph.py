"""The graph of fragments that touch, with their affinities, added up block by block.

Affinities are stored as whole numbers of 0 to 255, so that sums are exact and do not depend on the
blocks.

Axes: K channels, D depth, H height, W width; E pairs of fragments.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lean3d.errors import ShapeError
from lean3d.infer.affinities import is_near
from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["Contacts", "FragmentGraph", "contacts"]

LEVELS = 255


@dataclass(frozen=True, eq=False)
class Contacts:
    """Pairs of fragments and the affinities between them.

    Shape: pairs (E, 2) uint64, count (E,) int64, total (E,) int64 of 0 to 255 per affinity.
    """

    pairs: np.ndarray
    count: np.ndarray
    total: np.ndarray

    @staticmethod
    def added(parts: Iterable["Contacts"]) -> "Contacts":
        """Return the sum over blocks, pairs in ascending order."""
        given = list(parts)
        pairs = np.concatenate([np.zeros((0, 2), np.uint64), *(p.pairs for p in given)])
        count, total = (
            np.concatenate([np.zeros(0, np.int64), *(getattr(p, name) for p in given)])
            for name in ("count", "total")
        )
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs, count, total = pairs[order], count[order], total[order]
        new = np.ones(len(pairs), bool)
        new[1:] = (pairs[1:] != pairs[:-1]).any(1)
        first = np.flatnonzero(new)
        if not len(first):
            return Contacts(pairs, count, total)
        return Contacts(pairs[first], np.add.reduceat(count, first), np.add.reduceat(total, first))

    @property
    def mean(self) -> np.ndarray:
        """The mean affinity of each pair, 0 to 1."""
        return self.total / (LEVELS * np.maximum(self.count, 1))


@dataclass(frozen=True, eq=False)
class FragmentGraph:
    """Fragments 1 to `fragments`, those that touch, and those that long-range affinities join."""

    fragments: int
    touching: Contacts
    distant: Contacts


def contacts(
    fragment_DHW: np.ndarray,
    affinity_KDHW: np.ndarray,
    offsets: Sequence[Triple],
    core: tuple[slice, slice, slice],
) -> tuple[Contacts, Contacts]:
    """Return pairs of nearest neighbours, and long-range ones, whose first voxel is a block's.

    Args:
        fragment_DHW: The window of a block, with a halo as wide as the longest offset; 0 is no
            fragment.
        core: The block in the window.

    Shape: (D, H, W) uint64 and (K, D, H, W) uint8.
    """
    if affinity_KDHW.dtype != np.uint8 or affinity_KDHW.shape[1:] != fragment_DHW.shape:
        raise ShapeError(
            f"contacts takes uint8 affinities of the fragments' shape {fragment_DHW.shape}, got "
            f"{affinity_KDHW.dtype} of {affinity_KDHW.shape[1:]}"
        )
    near = [k for k, offset in enumerate(offsets) if is_near(offset)]
    far = [k for k in range(len(offsets)) if k not in near]
    first, second = (
        _contacts(fragment_DHW, affinity_KDHW[chosen], [offsets[k] for k in chosen], core)
        for chosen in (near, far)
    )
    return first, second


def _contacts(fragment_DHW, affinity_KDHW, offsets, core) -> Contacts:
    if not offsets:
        return Contacts.added([])
    distributed = require("bioimage_cpp.graph.distributed", extra="neurons")
    begin = [s.start for s in core]
    size = [s.stop - s.start for s in core]
    pairs, statistics = distributed.block_affinity_stats(
        fragment_DHW, affinity_KDHW, offsets, begin, size, number_of_threads=1
    )
    inside = pairs[:, 0] > 0
    count = statistics[inside, 0].astype(np.int64)
    total = np.rint(statistics[inside, 0] * statistics[inside, 1]).astype(np.int64)
    return Contacts(pairs[inside], count, total)
