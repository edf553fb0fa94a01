"""The grid of a file's voxels: how its axes turn to D, H, W, and where the voxels are in space.

Axes: D depth (superior), H height (anterior), W width (right).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lean3d.optional import require

__all__ = ["Grid", "sides_of"]

# a voxel is a parallelepiped if its volume is less than this share of the product of its sides
UPRIGHT = 1 - 1e-5


def sides_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Return the millimetres per voxel along D, H, W; their product is the volume of a voxel.

    Of slices that lean (a tilted gantry), the longest side is that between them, and counts as
    their distance at a right angle.

    Args:
        affine: 4 x 4, maps a (D, H, W) index to millimetres.
    """
    columns = affine[:3, :3]
    sides = np.linalg.norm(columns, axis=0)
    share = abs(float(np.linalg.det(columns))) / sides.prod()
    if share < UPRIGHT:
        sides[sides.argmax()] *= share
    depth, height, width = sides.tolist()
    return (depth, height, width)


@dataclass(frozen=True, eq=False)
class Grid:
    """The grid of a file's voxels, with axes turned to D, H, W.

    Args:
        stored: Shape of the array in the file, trailing axes included.
        orientation: nibabel's orientation of the file's axes: which axis of RAS+, and which way.
        shape: (D, H, W).
        affine: 4 x 4, maps a (D, H, W) index to RAS+ millimetres.
        known: Whether the file says how large its voxels are; if not, they are 1 mm a side.
        located: Whether the file says where its voxels are; a stack does not.
    """

    stored: tuple[int, ...]
    orientation: np.ndarray
    shape: tuple[int, int, int]
    affine: np.ndarray
    known: bool = True
    located: bool = True

    @classmethod
    def at(cls, affine: np.ndarray, stored: Sequence[int]) -> "Grid":
        """The grid of an array with three axes in space, then others.

        Args:
            affine: 4 x 4, maps an index of the first three axes to RAS+ millimetres.
        """
        space = require("nibabel.orientations", extra="volume")
        orientation = space.io_orientation(affine)
        turned = affine @ space.inv_ornt_aff(orientation, tuple(stored[:3]))
        sizes = [0, 0, 0]
        for axis, size in zip(orientation[:, 0].astype(int), stored[:3], strict=True):
            sizes[axis] = size
        shape = (sizes[2], sizes[1], sizes[0])
        return cls(tuple(stored), orientation, shape, turned[:, [2, 1, 0, 3]])

    @classmethod
    def stack(cls, shape: Sequence[int], spacing_mm: Sequence[float] | None) -> "Grid":
        """The grid of a stack of pages, rows and columns, which become D, H and W as they are.

        Args:
            spacing_mm: Of (D, H, W); None if it is not known.
        """
        depth, height, width = shape
        sides = [1.0, 1.0, 1.0] if spacing_mm is None else list(spacing_mm)
        affine = np.zeros((4, 4))
        # D points to superior, H to anterior and W to right
        affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *sides, 1
        # an array (W, H, D) with axes towards right, anterior, superior
        orientation = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
        stored = (width, height, depth)
        known = spacing_mm is not None
        return cls(stored, orientation, (depth, height, width), affine, known, located=False)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres per voxel along D, H, W."""
        return sides_of(self.affine)

    @property
    def stored_affine(self) -> np.ndarray:
        """4 x 4, maps an index of the file's own axes to RAS+ millimetres."""
        space = require("nibabel.orientations", extra="volume")
        back = np.linalg.inv(space.inv_ornt_aff(self.orientation, self.stored[:3]))
        return self.affine[:, [2, 1, 0, 3]] @ back

    def turn(self, stored: np.ndarray) -> np.ndarray:
        """Return an array of the file, or some of its planes, as (C, D, H, W), a view."""
        space = require("nibabel.orientations", extra="volume")
        return space.apply_orientation(stored.reshape(*stored.shape[:3], -1), self.orientation).T

    def turn_back(self, x: np.ndarray) -> np.ndarray:
        """Return a (D, H, W) array in the file's layout, the inverse of `turn`.

        Of (K, D, H, W), K becomes the fourth axis.
        """
        space = require("nibabel.orientations", extra="volume")
        canonical = space.axcodes2ornt("RAS")
        back = space.ornt_transform(canonical, self.orientation)
        whole = x.ndim == 3 and all(size == 1 for size in self.stored[3:])
        shape = self.stored if whole else (*self.stored[:3], *x.shape[:-3])
        return space.apply_orientation(x.T, back).reshape(shape)

    def far_from(self, other: "Grid") -> float:
        """Return the largest distance, in voxels, of equal indices on two grids of one shape.

        Of a stack, which has no place, it is what the sizes of voxels add up to; 0 if unknown.
        """
        if not (self.known and other.known):
            return 0.0
        own, others = self.affine, other.affine
        if not (self.located and other.located):
            own, others = (np.diag([*grid.spacing, 1.0]) for grid in (self, other))
        corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(self.shape) - 1)
        corners = np.column_stack([corners, np.ones(8)])
        apart = np.linalg.norm(corners @ (own - others).T, axis=1).max()
        return float(apart / np.linalg.norm(own[:3, :3], axis=0).min())
