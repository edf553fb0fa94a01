"""Join the labels of blocks: numbers that name the same object become one.

The result is numbered by the position of objects in the volume, so that it does not depend on the
blocks.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lean3d.infer.grid import Block
from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["Numbering", "consecutive", "exits", "number_components", "number_fragments"]

Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Numbering:
    """Consecutive labels of the numbers that blocks gave.

    Args:
        numbers: All numbers of all blocks, ascending.
        labels: The label of each, from 1; 0 for what is outside.
    """

    numbers: np.ndarray
    labels: np.ndarray

    @property
    def count(self) -> int:
        """The number of objects."""
        return int(self.labels.max(initial=0))

    def apply(self, numbers: np.ndarray) -> np.ndarray:
        """Return the labels of a block's numbers, uint64."""
        found, inverse = np.unique(numbers, return_inverse=True)
        labels = np.zeros(len(found), np.uint64)
        some = found > 0
        labels[some] = self.labels[np.searchsorted(self.numbers, found[some])]
        return labels[inverse].reshape(numbers.shape)


def consecutive(numbers: np.ndarray) -> np.ndarray:
    """Replace numbers by 1, 2, ... in ascending order, uint64; 0 stays 0."""
    labels = np.unique(np.append(0, numbers.ravel()), return_inverse=True)[1][1:]
    return labels.reshape(numbers.shape).astype(np.uint64)


def exits(numbers: np.ndarray, block: Block, halo: Triple) -> Pairs:
    """Return the numbers by which a block refers to other blocks, and what those voxels have.

    Args:
        numbers: Those of `block.window(halo)`, with a halo of one voxel.
    """
    flat, voxels = numbers.ravel(), block.voxels(halo).ravel()
    outside = np.ones(numbers.shape, bool)
    outside[block.inside(halo)] = False
    named = np.isin(voxels + 1, np.unique(numbers[block.inside(halo)]))
    there = outside.ravel() & named
    return (voxels[there] + 1).astype(np.uint64), flat[there]


def number_fragments(found: Iterable[np.ndarray], links: Iterable[Pairs]) -> Numbering:
    """Follow the links of fragments that cross blocks, and number the maxima that they end at.

    Args:
        found: The numbers in each block, without 0.
        links: What `exits` returned for each block.
    """
    numbers = np.unique(np.concatenate([np.zeros(0, np.uint64), *found]))
    pairs = list(links)
    names = np.concatenate([np.zeros(0, np.uint64), *(p[0] for p in pairs)])
    targets = np.concatenate([np.zeros(0, np.uint64), *(p[1] for p in pairs)])
    names, first = np.unique(names, return_index=True)
    targets = targets[first]
    # each link goes uphill, or to the voxel itself if it is a maximum, so they end
    while True:
        further = _follow(names, targets, targets)
        if (further == targets).all():
            break
        targets = further
    ends = _follow(names, targets, numbers)
    roots = np.unique(ends[ends > 0])
    labels = np.where(ends > 0, np.searchsorted(roots, ends) + 1, 0)
    return Numbering(numbers, labels.astype(np.uint64))


def number_components(found: Iterable[np.ndarray], links: Iterable[Pairs]) -> Numbering:
    """Join the numbers that links say are of one object; objects follow by their least number.

    Args:
        found: The numbers in each block, without 0.
        links: Pairs of numbers of two blocks.
    """
    sparse = require("scipy.sparse", extra="neurons")
    graphs = require("scipy.sparse.csgraph", extra="neurons")
    numbers = np.unique(np.concatenate([np.zeros(0, np.uint64), *found]))
    pairs = list(links)
    first, second = (
        np.searchsorted(numbers, np.concatenate([np.zeros(0, np.uint64), *(p[end] for p in pairs)]))
        for end in (0, 1)
    )
    ones = np.ones(len(first), bool)
    graph = sparse.coo_matrix((ones, (first, second)), shape=(len(numbers),) * 2)
    _, groups = graphs.connected_components(graph, directed=False)
    _, least, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return Numbering(numbers, consecutive(least[inverse] + 1))


def _follow(names: np.ndarray, targets: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Replace the numbers that are names, which ascend, by their targets."""
    if not len(names):
        return numbers
    place = np.minimum(np.searchsorted(names, numbers), len(names) - 1)
    return np.where(names[place] == numbers, targets[place], numbers)
