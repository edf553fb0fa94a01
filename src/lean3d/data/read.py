"""Read one NIfTI file completely, in (D, H, W) order, or raise one sentence with the reason.

Axes: D depth (superior), H height (anterior), W width (right).
"""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.nifti_room import check_end, check_extensions, check_room
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["Grid", "open_nifti", "read_image", "read_label"]


@dataclass(frozen=True, eq=False)
class Grid:
    """The grid of a file's voxels, with axes turned to D, H, W.

    Args:
        stored: Shape of the array in the file, trailing ones included.
        orientation: nibabel's orientation of the file's axes: which axis of RAS+, and which way.
        shape: (D, H, W).
        affine: 4 x 4, maps a (D, H, W) index to RAS+ millimetres.
    """

    stored: tuple[int, ...]
    orientation: np.ndarray
    shape: tuple[int, int, int]
    affine: np.ndarray

    @classmethod
    def of(cls, image: Any) -> "Grid":
        """The grid of an open nibabel image of three axes."""
        space = require("nibabel.orientations", extra="volume")
        orientation = space.io_orientation(image.affine)
        turned = image.affine @ space.inv_ornt_aff(orientation, image.shape[:3])
        sizes = [0, 0, 0]
        for axis, size in zip(orientation[:, 0].astype(int), image.shape[:3], strict=True):
            sizes[axis] = size
        shape = (sizes[2], sizes[1], sizes[0])
        return cls(tuple(image.shape), orientation, shape, turned[:, [2, 1, 0, 3]])

    def turn(self, stored: np.ndarray) -> np.ndarray:
        """Return the array of the file as (D, H, W), a view."""
        space = require("nibabel.orientations", extra="volume")
        return space.apply_orientation(stored.reshape(self.stored[:3]), self.orientation).T

    def turn_back(self, x_DHW: np.ndarray) -> np.ndarray:
        """Return a (D, H, W) array in the file's layout, the inverse of `turn`."""
        space = require("nibabel.orientations", extra="volume")
        canonical = space.axcodes2ornt("RAS")
        back = space.ornt_transform(canonical, self.orientation)
        return space.apply_orientation(x_DHW.T, back).reshape(self.stored)

    def far_from(self, other: "Grid") -> float:
        """Return the largest distance, in voxels, of equal indices on two grids of one shape."""
        corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(self.shape) - 1)
        corners = np.column_stack([corners, np.ones(8)])
        apart = np.linalg.norm(corners @ (self.affine - other.affine).T, axis=1).max()
        return float(apart / np.linalg.norm(self.affine[:3, :3], axis=0).min())


def open_nifti(path: Path) -> tuple[Any, Grid]:
    """Open a file by its header alone and find the grid of its voxels."""
    nib = require("nibabel", extra="volume")
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file; check the path")
    try:
        check_extensions(path)
        # not memory-mapped: the tensors must not change with the file
        image = nib.load(path, mmap=False)
    except DataError:
        raise
    # a damaged file fails in whichever line of nibabel reads the damage first
    except Exception as error:
        raise _unreadable(path, error) from error
    if not isinstance(image, nib.Nifti1Image):
        raise DataError(
            f"{path} is a {type(image).__name__}, not a single-file NIfTI; "
            "convert it to .nii.gz first"
        )
    sizes = " x ".join(map(str, image.shape))
    if len(image.shape) < 3 or any(size != 1 for size in image.shape[3:]):
        raise DataError(
            f"{path} has {len(image.shape)} axes ({sizes}), not 3; give one 3D volume a file, "
            "for example split by nibabel.funcs.four_to_three"
        )
    if 0 in image.shape:
        raise DataError(f"{path} holds no voxels ({sizes}); export it again")
    if not _places_voxels(image.affine):
        raise DataError(
            f"the affine of {path} does not place its voxels in space (a voxel has no volume); "
            "repair its header or export it again"
        )
    return image, Grid.of(image)


def _places_voxels(affine: np.ndarray) -> bool:
    """Whether the axes of an affine have a length and are not nearly parallel."""
    axes = affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(affine).all() or lengths.min() < 1e-6 or lengths.max() > 1e6:
        return False
    return abs(np.linalg.det(axes / lengths)) > 1e-3


def _unreadable(path: Path, error: Exception) -> DataError:
    why = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"{path} cannot be read as NIfTI ({why}); it is damaged, cut short or of another format: "
        "copy or export it again"
    )


def _voxels(image: Any, path: Path) -> np.ndarray:
    if path.suffix != ".gz":
        return np.asanyarray(image.dataobj)
    with gzip.open(path) as stream:
        stored = np.asanyarray(type(image).from_stream(stream).dataobj)
        check_end(path, stream)
    return stored


def _read(path: Path) -> tuple[np.ndarray, Grid]:
    image, grid = open_nifti(path)
    check_room(path, image)
    try:
        # a damaged scale factor overflows; the check for finite values names it
        with np.errstate(all="ignore"):
            stored = _voxels(image, path)
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if stored.dtype.kind not in "iuf":
        raise DataError(
            f"{path} holds {stored.dtype} voxels, not single real numbers; "
            "export it as one grey value a voxel"
        )
    return grid.turn(stored), grid


def read_image(path: Path) -> tuple[np.ndarray, Grid]:
    """Return one channel, float32, finite and not constant."""
    x_DHW, grid = _read(path)
    with np.errstate(over="ignore"):
        x_DHW = np.ascontiguousarray(x_DHW, dtype=np.float32)
    finite = np.isfinite(x_DHW)
    if not finite.all():
        raise DataError(
            f"{path} holds NaN or infinity in {(~finite).sum()} of {finite.size} voxels; "
            "replace them or export the scan again"
        )
    if x_DHW.min() == x_DHW.max():
        raise DataError(
            f"every voxel of {path} is {x_DHW.flat[0]:g}: the scan is empty; export it again"
        )
    return x_DHW, grid


def read_label(path: Path, num_classes: int | None = None) -> tuple[np.ndarray, Grid]:
    """Return the class of every voxel, int64, within 0 .. num_classes - 1."""
    stored, grid = _read(path)
    with np.errstate(invalid="ignore"):
        label_DHW = np.ascontiguousarray(stored, dtype=np.int64)
    if stored.dtype.kind == "f" and not (label_DHW == stored).all():
        odd = stored[label_DHW != stored].flat[0]
        raise DataError(
            f"{path} holds the value {odd:g}, which is no class number; "
            "a label file holds whole numbers: was it interpolated, or is it the image?"
        )
    top = np.inf if num_classes is None else num_classes - 1
    if label_DHW.min() < 0 or label_DHW.max() > top:
        found = np.unique(label_DHW)
        shown = ", ".join(map(str, found[:12])) + (", ..." if len(found) > 12 else "")
        allowed = "0 and above" if num_classes is None else f"0 to {num_classes - 1}"
        raise DataError(
            f"{path} holds the labels {shown} where {allowed} are expected; "
            "renumber them or give another number of classes"
        )
    return label_DHW, grid
