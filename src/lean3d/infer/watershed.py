"""Fragments of neurons: the watershed of the distance to boundaries, exact in blocks.

Funke et al., Large Scale Image Segmentation with Structured Loss based Deep Learning for
Connectome Reconstruction, arXiv:1709.02974, Sec 2.3: the seeds of a watershed are the maxima of the
distance to the boundary that the affinities show. Here each voxel belongs to the maximum that it
reaches by steepest ascent (topographic distance, Meyer, Signal Processing 38, 1994). That depends
on the voxels near its path alone, so fragments of a volume cut into blocks are those of the whole,
voxel by voxel; a flooding, as scikit-image's, depends on the order of the whole queue.

Axes: K channels, D depth, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np

from lean3d.errors import RunError, ShapeError
from lean3d.infer.affinities import check_affinities
from lean3d.infer.grid import Block, blocks_of
from lean3d.infer.stitch import consecutive
from lean3d.limits import check_number
from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["Watershed"]

FACES = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
# reach of a Gaussian in standard deviations
REACH = 4.0
# the largest smoothing, in voxel widths, and how much longer than wide a voxel may be
WIDEST, LONGEST = 100.0, 1000.0
# distances are rounded to this share of a voxel: equal ones stay equal in every window
STEPS = 64


@dataclass(frozen=True, kw_only=True)
class Watershed:
    """How affinities become fragments.

    Args:
        offsets: Of the K channels, (z, y, x); those of nearest neighbours are used.
        threshold: Affinity to the nearest neighbours above which a voxel is inside a neuron.
        inside: Of a voxel's affinities the "min", exact for thin boundaries, or the "mean", for
            noisy affinities.
        spacing: Size of a voxel (D, H, W) in units of its width, such as (12.5, 1, 1).
        sections: Make the fragments of each section by itself, for thick sections.
        smooth: Standard deviation of the smoothing of the distance, in voxel widths.
        limit: Distances above this count as equal, in voxel widths.
        fill: Let fragments grow over the boundaries; otherwise these are 0 in the end.

    Raises:
        RunError: no nearest neighbour in the plane among the offsets.
        LeanError: a number is out of its range.
    """

    offsets: tuple[Triple, ...]
    threshold: float = 0.5
    inside: Literal["min", "mean"] = "min"
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    sections: bool = False
    smooth: float = 1.0
    limit: float = 16.0
    fill: bool = True

    def __post_init__(self) -> None:
        check_number("the watershed's threshold", self.threshold, 0, 1)
        check_number("the watershed's smooth", self.smooth, 0, WIDEST)
        check_number("the watershed's limit", self.limit, above=True)
        for size in self.spacing:
            check_number("the watershed's spacing", size, 1 / LONGEST, LONGEST)
        if self.inside not in ("min", "mean"):
            raise RunError(f"the watershed's inside is min or mean, got {self.inside!r}")
        if not self.nearest:
            raise RunError(
                "a watershed needs affinities of nearest neighbours, such as channels z1 y1 x1; "
                f"got offsets {list(self.offsets)}"
            )

    @property
    def nearest(self) -> list[int]:
        """The channels of nearest neighbours; of separate sections those in the plane."""
        axes = (1, 2) if self.sections else (0, 1, 2)
        steps = [[0] * axis + [-1] + [0] * (2 - axis) for axis in axes]
        return [k for k, offset in enumerate(self.offsets) if list(offset) in steps]

    @property
    def halo(self) -> Triple:
        """The voxels around a block that its fragments depend on."""
        reach = [ceil(self.limit / s) + ceil(REACH * self.smooth / s) + 2 for s in self.spacing]
        return (0 if self.sections else reach[0], reach[1], reach[2])

    def whole(self, affinity_KDHW: np.ndarray) -> np.ndarray:
        """Return the fragments of a volume in memory, numbered from 1; 0 is outside.

        Shape: (K, D, H, W), float of 0 to 1 or uint8 of 0 to 255 -> (D, H, W) uint64.

        Raises:
            ShapeError, DataError: these are no affinities.
        """
        affinity_KDHW = check_affinities(affinity_KDHW, self.offsets)
        depth, height, width = affinity_KDHW.shape[1:]
        (block,) = blocks_of((depth, height, width), (depth, height, width))
        numbers = consecutive(self.block(affinity_KDHW, block))
        return numbers if self.fill else np.where(self.boundary(affinity_KDHW), 0, numbers)

    def boundary(self, affinity_KDHW: np.ndarray) -> np.ndarray:
        """Mark the voxels outside neurons; at the edge of a window these are not exact.

        Shape: (K, d, h, w) -> (d, h, w) bool.
        """
        return self._inside(affinity_KDHW) <= self.threshold

    def block(self, affinity_KDHW: np.ndarray, block: Block) -> np.ndarray:
        """Return for each voxel of a block the voxel that it climbs to, 0 if it is outside.

        A number n is voxel n - 1 of the volume, in C order: a maximum in the block, or the first
        voxel of a neighbouring block on the way, whose own number says how it goes on.

        Shape: (K, d, h, w), the affinities of `block.window(halo)` -> the block's (d, h, w) uint64.
        """
        window = block.window(self.halo)
        expected = (len(self.offsets), *(s.stop - s.start for s in window))
        if affinity_KDHW.shape != expected:
            raise ShapeError(f"the watershed takes {expected}, got {affinity_KDHW.shape}")
        inside = self._inside(affinity_KDHW) > self.threshold
        height = self._height(inside)
        one: Triple = (0 if self.sections else 1, 1, 1)
        edge, core = block.window(one), block.inside(one)
        near = tuple(
            slice(e.start - w.start, e.stop - w.start) for e, w in zip(edge, window, strict=True)
        )
        ends = _climb(height[near], core, self.sections)
        voxels = block.voxels(one).ravel()
        numbers = (voxels[ends[core]] + 1).astype(np.uint64)
        within = np.zeros(height[near].shape, bool)
        within[core] = True
        low = within.ravel() & (height[near].ravel() <= 0)
        numbers[low[ends[core]]] = 0
        return numbers

    def _inside(self, affinity_KDHW: np.ndarray) -> np.ndarray:
        """Return the affinity, 0 to 1, of each voxel to its nearest neighbours in the volume."""
        total = np.zeros(affinity_KDHW.shape[1:], np.float32)
        count, least = np.zeros_like(total), np.ones_like(total)
        scale = 255 if affinity_KDHW.dtype == np.uint8 else 1
        for k in self.nearest:
            axis = [abs(step) for step in self.offsets[k]].index(1)
            here, there = _pair(axis, -1)
            pair = affinity_KDHW[k][here].astype(np.float32) / scale
            for end in (here, there):
                total[end] += pair
                count[end] += 1
                least[end] = np.minimum(least[end], pair)
        return least if self.inside == "min" else total / np.maximum(count, 1)

    def _height(self, inside: np.ndarray) -> np.ndarray:
        """Return the smoothed distance to the boundary, negative outside."""
        if self.sections:
            return np.stack([self._signed(section, self.spacing[1:]) for section in inside])
        return self._signed(inside, self.spacing)

    def _signed(self, inside: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        ndimage = require("scipy.ndimage", extra="neurons")
        height = np.full(inside.shape, self.limit if inside.any() else -self.limit)
        if inside.any() and not inside.all():
            for sign, part in ((1, inside), (-1, ~inside)):
                far = ndimage.distance_transform_edt(part, sampling=spacing)
                height[part] = sign * np.minimum(np.rint(STEPS * far[part]) / STEPS, self.limit)
        deviation = [self.smooth / s for s in spacing]
        radius = [ceil(REACH * d) for d in deviation]
        return ndimage.gaussian_filter(height, deviation, mode="nearest", radius=radius)


def _climb(height: np.ndarray, core: tuple[slice, ...], sections: bool) -> np.ndarray:
    """Return for each voxel the one it climbs to: a maximum, or the first one outside the core.

    Of neighbours of equal height the last one in C order is the higher.

    Shape: (d, h, w) -> (d, h, w) int64, positions in the flattened array.
    """
    own = np.arange(height.size).reshape(height.shape)
    best, target = height.copy(), own.copy()
    for step in FACES[2:] if sections else FACES:
        axis = next(a for a in range(3) if step[a])
        here, there = _pair(axis, step[axis])
        up = (height[there] > best[here]) | (
            (height[there] == best[here]) & (own[there] > target[here])
        )
        best[here] = np.where(up, height[there], best[here])
        target[here] = np.where(up, own[there], target[here])
    own[core] = target[core]
    ends = own.ravel()
    while ((further := ends[ends]) != ends).any():
        ends = further
    return ends.reshape(height.shape)


def _pair(axis: int, step: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the voxels that have a neighbour at `step` along an axis, and those neighbours."""
    front, back = slice(1, None), slice(None, -1)
    here, there = (front, back) if step < 0 else (back, front)
    whole = [slice(None)] * 3
    return (
        tuple(here if a == axis else s for a, s in enumerate(whole)),
        tuple(there if a == axis else s for a, s in enumerate(whole)),
    )
