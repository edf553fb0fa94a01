"""Blocks of a volume, each with the window of voxels that its result depends on.

Axes: D depth, H height, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from lean3d.errors import RunError
from lean3d.shape import Triple, triple

__all__ = ["Block", "blocks_of"]

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Block:
    """A part of a volume.

    Args:
        index: Its number in the order of depth, height, width.
        first: Its first voxel (D, H, W).
        last: The voxel after its last one.
        shape: Voxels of the volume.
    """

    index: int
    first: Triple
    last: Triple
    shape: Triple

    @property
    def core(self) -> Slices:
        """The block in the volume."""
        return _slices(self.first, self.last)

    def window(self, halo: Triple) -> Slices:
        """Return the block with a halo on each side, as far as the volume reaches."""
        low, high = self._ends(halo)
        return _slices(low, high)

    def inside(self, halo: Triple) -> Slices:
        """Return the block in its window."""
        low, _ = self._ends(halo)
        first, last = np.array([self.first, self.last]) - low
        return _slices(first, last)

    def voxels(self, halo: Triple) -> np.ndarray:
        """Return the numbers of a window's voxels in the volume, from 0 in C order, int64."""
        low, high = self._ends(halo)
        z, y, x = (np.arange(a, b, dtype=np.int64) for a, b in zip(low, high, strict=True))
        _, height, width = self.shape
        return (z[:, None, None] * height + y[:, None]) * width + x

    def _ends(self, halo: Triple) -> tuple[list[int], list[int]]:
        low = [max(0, a - h) for a, h in zip(self.first, halo, strict=True)]
        return low, [min(n, b + h) for n, b, h in zip(self.shape, self.last, halo, strict=True)]


def blocks_of(shape: Triple, size: Triple) -> list[Block]:
    """Cut a volume into blocks of `size`; the last ones along an axis may be smaller.

    Raises:
        RunError: a block is empty, or larger than the volume.
    """
    shape, size = triple(shape, "the shape"), triple(size, "the block")
    if min(size) < 1 or any(a > b for a, b in zip(size, shape, strict=True)):
        raise RunError(
            f"a block of {_text(size)} voxels does not fit into a volume of {_text(shape)}; give "
            "at most its size along each axis, and at least 1"
        )
    return [
        Block(index, first, _last(first, size, shape), shape)
        for index, first in enumerate(_corners(shape, size))
    ]


def _corners(shape: Triple, size: Triple) -> Iterator[Triple]:
    z, y, x = (range(0, n, s) for n, s in zip(shape, size, strict=True))
    yield from product(z, y, x)


def _last(first: Triple, size: Triple, shape: Triple) -> Triple:
    z, y, x = (min(f + s, n) for f, s, n in zip(first, size, shape, strict=True))
    return z, y, x


def _slices(low, high) -> Slices:
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, y, x


def _text(sizes: Triple) -> str:
    return " x ".join(map(str, sizes))
