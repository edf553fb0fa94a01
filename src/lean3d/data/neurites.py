"""Synthetic electron microscopy: densely packed neurites whose labels are known.

Neurites are tubes around random walks. A voxel belongs to the nearest walk within the radius of a
tube; voxels farther from all of them are extracellular space, label 0. Membranes are dark bands
where labels change, organelles dark balls inside. Sizes are in nanometres, so a volume of thick
sections shows the same tubes at fewer voxels along depth.

Any window of a volume can be drawn by itself and equals that part of the whole: volumes larger than
memory are written window by window.

Axes: D depth (sections), H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch

from lean3d.data.volume import Volume
from lean3d.errors import DataError
from lean3d.limits import check_memory, check_number, check_sizes
from lean3d.optional import require
from lean3d.shape import Triple, triple

__all__ = ["Neurites"]

NM = 1e-6  # in millimetres, the unit of a volume's affine
# grey values of 0 to 255
INSIDE, OUTSIDE, MEMBRANE, ORGANELLE = 170.0, 130.0, 60.0, 95.0
# voxels along a side of the cubes whose noise is drawn at once
TILE = 32
# standard deviation of the turn of a walk per radius walked, in radians
CURL = 0.5
# organelles per length of ten radii
ORGANELLES = 0.5


@dataclass(frozen=True, kw_only=True)
class Neurites:
    """A volume of neurites; nothing is drawn before `draw` or `volume` is called.

    Args:
        shape: Voxels (D, H, W).
        voxel_nm: Size of a voxel (D, H, W) in nanometres, such as (50, 4, 4) for sections.
        radius_nm: Largest distance from the axis of a neurite to its surface.
        membrane_nm: Thickness of the dark band where two labels meet.
        noise: Standard deviation of the grey values' noise, of 255.
        density: Neurites in units of those that just fill the volume; 1 or more leaves little
            extracellular space.
        seed: Of walks, organelles, contrast and noise.

    Raises:
        DataError: a size that is not positive.
    """

    shape: Triple
    voxel_nm: tuple[float, float, float] = (10.0, 10.0, 10.0)
    radius_nm: float = 120.0
    membrane_nm: float = 20.0
    noise: float = 20.0
    density: float = 1.5
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", triple(self.shape, "Neurites: shape"))
        if min(self.shape) < 1 or len(self.voxel_nm) != 3:
            raise DataError(
                "Neurites takes a shape and a voxel_nm of three positive sizes (D, H, W), got "
                f"{self.shape} and {self.voxel_nm}"
            )
        check_sizes("Neurites: a volume", self.shape)
        for name in ("radius_nm", "membrane_nm", "density"):
            check_number(f"Neurites: {name}", getattr(self, name), above=True)
        for size in self.voxel_nm:
            check_number("Neurites: voxel_nm", size, above=True)
        check_number("Neurites: noise", self.noise)
        if not 0 <= self.seed < 2**63:
            raise DataError(f"Neurites: seed is a whole number of 0 or more, got {self.seed}")

    def volume(self) -> Volume:
        """Draw the whole volume.

        Shape: image (1, D, H, W) float32 of 0 to 255, label (D, H, W) int64.
        """
        voxels = int(np.prod(self.shape))
        check_memory("a volume of neurites", 40 * voxels, "draw it window by window")
        raw, labels = self.draw((0, 0, 0), self.shape)
        image = torch.from_numpy(raw[None].astype(np.float32))
        affine = np.diag([*(NM * np.array(self.voxel_nm)), 1.0])
        return Volume(image, torch.from_numpy(labels.astype(np.int64)), affine, "neurites")

    def draw(self, start: Sequence[int], shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Draw a window: raw uint8 and labels uint32, both of this shape (D, H, W)."""
        first, size = np.array(triple(tuple(start))), np.array(triple(tuple(shape)))
        if (first < 0).any() or (size < 1).any() or (first + size > self.shape).any():
            raise DataError(
                f"Neurites of {self.shape} voxels has no window of {tuple(size.tolist())} at "
                f"{tuple(first.tolist())}"
            )
        # as far as anything reaches that changes a voxel
        reach = np.ceil((self.radius_nm + self.membrane_nm) / np.array(self.voxel_nm)).astype(int)
        labels = self._nearest(first - reach - 1, size + 2 * reach + 2)
        inside = tuple(slice(r + 1, r + 1 + n) for r, n in zip(reach, size, strict=True))
        grey = np.where(labels[inside] > 0, INSIDE, OUTSIDE)
        grey += self._cells[labels[inside]]
        grey[self._organelles(first, size) & (labels[inside] > 0)] = ORGANELLE
        grey[self._membranes(labels)[inside]] = MEMBRANE
        grey = (grey - 128) * self._contrast[first[0] : first[0] + size[0], None, None] + 128
        grey += self.noise * self._noise(first, size)
        return grey.clip(0, 255).round().astype(np.uint8), labels[inside]

    @cached_property
    def _walks(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points (N, 3) in nanometres of all walks, and the label of each."""
        random = np.random.default_rng((self.seed, 0))
        box = np.array(self.shape) * self.voxel_nm
        radius = self.radius_nm
        # a walk is about as long as a mean side of the box
        num = self.density * box.prod() / (np.pi * (0.7 * radius) ** 2 * box.mean())
        num = max(2, round(num))
        # all walks start in the box and are followed both ways, until they have left it
        step = min(radius / 4, *self.voxel_nm)
        steps = int(np.ceil(2 * np.linalg.norm(box) / step))
        start = random.uniform(0, 1, (num, 3)) * box
        heading = _unit(random.standard_normal((num, 3)))
        points, owners = [start], [np.arange(1, num + 1)]
        for sign in (1, -1):
            at, towards = start.copy(), sign * heading
            owner = np.arange(1, num + 1)
            for _ in range(steps):
                turn = CURL * np.sqrt(step / radius) * random.standard_normal(at.shape)
                towards = _unit(towards + turn)
                at = at + step * towards
                near = ((at > -radius) & (at < box + radius)).all(1)
                at, towards, owner = at[near], towards[near], owner[near]
                points.append(at)
                owners.append(owner)
                if not len(at):
                    break
        return np.concatenate(points), np.concatenate(owners).astype(np.uint32)

    @cached_property
    def _cells(self) -> np.ndarray:
        """Return the difference of each cell's grey value from the mean, by label."""
        random = np.random.default_rng((self.seed, 1))
        return np.append(0.0, 8 * random.standard_normal(int(self._walks[1].max())))

    @cached_property
    def _contrast(self) -> np.ndarray:
        """Return the contrast of each section."""
        return 1 + 0.08 * np.random.default_rng((self.seed, 2)).standard_normal(self.shape[0])

    @cached_property
    def _balls(self) -> tuple[np.ndarray, np.ndarray]:
        """Return centres in nanometres and radii of the organelles."""
        random = np.random.default_rng((self.seed, 3))
        points, _ = self._walks
        length = len(points) * min(self.radius_nm / 4, *self.voxel_nm)
        num = round(ORGANELLES * length / (10 * self.radius_nm))
        centres = points[random.integers(0, len(points), num)]
        return centres, random.uniform(0.25, 0.45, num) * self.radius_nm

    def _nearest(self, first: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Label the voxels of a window by the nearest walk within the radius."""
        ndimage = require("scipy.ndimage", extra="volume")
        points, owners = self._walks
        voxels = np.floor(points / self.voxel_nm).astype(np.int64) - first
        near = ((voxels >= 0) & (voxels < size)).all(1)
        labels = np.zeros(size, np.uint32)
        labels[tuple(voxels[near].T)] = owners[near]
        if not near.any():
            return labels
        far, places = ndimage.distance_transform_edt(
            labels == 0, sampling=self.voxel_nm, return_indices=True
        )
        return np.where(far <= self.radius_nm, labels[tuple(places)], 0).astype(np.uint32)

    def _membranes(self, labels: np.ndarray) -> np.ndarray:
        """Mark voxels within half a membrane of another label."""
        ndimage = require("scipy.ndimage", extra="volume")
        edge = np.zeros(labels.shape, bool)
        # a thick section holds no membrane that lies flat in it
        thickest = max(self.membrane_nm, min(self.voxel_nm))
        for axis in (a for a in range(3) if self.voxel_nm[a] <= thickest):
            front, back = (_cut(axis, part) for part in (slice(1, None), slice(None, -1)))
            change = labels[front] != labels[back]
            edge[front] |= change
            edge[back] |= change
        if not edge.any():
            return edge
        far = ndimage.distance_transform_edt(~edge, sampling=self.voxel_nm)
        return far <= max(0.0, self.membrane_nm / 2 - min(self.voxel_nm) / 2)

    def _organelles(self, first: np.ndarray, size: np.ndarray) -> np.ndarray:
        marked = np.zeros(size, bool)
        step = np.array(self.voxel_nm)
        for centre, radius in zip(*self._balls, strict=True):
            low = np.floor((centre - radius) / step).astype(int) - first
            high = np.ceil((centre + radius) / step).astype(int) + 1 - first
            low, high = np.maximum(low, 0), np.minimum(high, size)
            if (low >= high).any():
                continue
            axes = [
                (np.arange(a, b) + f + 0.5) * s - c
                for a, b, f, s, c in zip(low, high, first, step, centre, strict=True)
            ]
            z, y, x = np.ix_(*axes)
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            marked[box] |= z**2 + y**2 + x**2 <= radius**2
        return marked

    def _noise(self, first: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Draw normal noise, by cubes of a fixed grid: the same in every window."""
        noise = np.empty(size, np.float32)
        tiles = [
            range(a // TILE, (a + n - 1) // TILE + 1) for a, n in zip(first, size, strict=True)
        ]
        for tile in product(*tiles):
            corner = TILE * np.array(tile)
            random = np.random.default_rng((self.seed, 4, *(int(t) for t in tile)))
            drawn = random.standard_normal((TILE,) * 3, np.float32)
            low, high = np.maximum(corner, first), np.minimum(corner + TILE, first + size)
            there = tuple(slice(a, b) for a, b in zip(low - first, high - first, strict=True))
            here = tuple(slice(a, b) for a, b in zip(low - corner, high - corner, strict=True))
            noise[there] = drawn[here]
        return noise


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _cut(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if a == axis else slice(None) for a in range(3))
