"""Write masks on exactly the voxels of the scan they were predicted from.

Axes: K classes, D depth, H height, W width.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from torch import Tensor

from lean3d.data.folder import ImagePath
from lean3d.data.formats.nifti import write_probabilities
from lean3d.data.formats.registry import check_writer, find_writer
from lean3d.data.grid import Grid
from lean3d.data.read import open_scan
from lean3d.data.resample import resample, resample_classes, resample_labels
from lean3d.data.volume import Volume
from lean3d.errors import DataError, ShapeError
from lean3d.files import write_whole

__all__ = [
    "check_masks",
    "on_grid_of",
    "save_mask",
    "save_probabilities",
    "write_files",
    "write_masks",
]


def save_mask(
    path: str | Path,
    mask: Tensor | np.ndarray,
    volume: Volume,
    like: str | ImagePath,
    *,
    names: Sequence[str] = (),
) -> None:
    """Write class numbers as uint8 on exactly the grid of `like`, atomically.

    The suffix chooses the format: NIfTI, TIFF, NRRD, MetaImage, .npy, Zarr or DICOM-SEG (.dcm). The
    header of a NIfTI scan is kept in a NIfTI mask: orientation, affine, voxel sizes, units and both
    transforms; only the type, scaling and display range change. A mask on a resampled volume is
    resampled back by class, linearly; voxels of `like` outside a cropped volume become class 0.

    Args:
        mask: (D, H, W) class numbers, or (K, D, H, W) probabilities or scores, on the grid of
            `volume`.
        like: The image `volume` was loaded from.
        names: Of the classes, for formats that store them.
    """
    find_writer(Path(path))
    write_masks([path], on_grid_of(mask, volume, like), like, names=names)


def on_grid_of(mask: Tensor | np.ndarray, volume: Volume, like: str | ImagePath) -> np.ndarray:
    """Return a mask on the grid of `like`, (D, H, W) uint8, as `save_mask` writes it."""
    first = _files(like)[0]
    grid = open_scan(first).grid
    return _on_grid(_as_array(mask, volume), volume, grid, first).astype(np.uint8, copy=False)


def write_masks(
    paths: Sequence[str | Path],
    mask_DHW: np.ndarray,
    like: str | ImagePath,
    *,
    names: Sequence[str] = (),
) -> None:
    """Write a mask that is on the grid of `like` under several names: all of them, or none."""
    write_files([(path, mask_DHW, names) for path in paths], like)


def check_masks(paths: Iterable[str | Path], like: str | ImagePath) -> None:
    """Refuse names under which no mask of the scan `like` can be written.

    Raises:
        DataError: the suffix is of no format, or of one that is for other scans.
    """
    for path in paths:
        check_writer(Path(path), _files(like))


def write_files(
    parts: Iterable[tuple[str | Path, np.ndarray, Sequence[str]]], like: str | ImagePath
) -> None:
    """Write files, each with its mask (D, H, W) and the names of its classes: all, or none."""
    files = _files(like)
    grid = open_scan(files[0]).grid
    parts = list(parts)
    check_masks([path for path, *_ in parts], like)
    with ExitStack() as stack:
        for path, mask_DHW, names in parts:
            write = find_writer(Path(path))
            place = stack.enter_context(write_whole(path))
            write(place, mask_DHW, grid, files, tuple(names))


def _files(like: str | ImagePath) -> tuple[Path, ...]:
    return tuple(map(Path, (like,) if isinstance(like, str | Path) else like))


def save_probabilities(
    path: str | Path, probabilities: Tensor, volume: Volume, like: str | ImagePath
) -> None:
    """Write (K, D, H, W) probabilities as float32 with classes along a fourth axis, atomically.

    They are on the voxels of `like`, as a NIfTI mask is, resampled linearly from those of `volume`.

    Raises:
        DataError: the name does not end in .nii or .nii.gz.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise DataError(f"probabilities are written as .nii or .nii.gz, got {path}")
    files = _files(like)
    first = files[0]
    grid = open_scan(first).grid
    array = _as_array(probabilities, volume)
    step, offset = _index_map(volume, grid, first)
    if array.shape[1:] != grid.shape or not np.allclose([step, offset], [[1] * 3, [0] * 3]):
        array = np.stack([resample(x_DHW, step, offset, grid.shape) for x_DHW in array])
    with write_whole(path) as temporary:
        write_probabilities(temporary, array, grid, files)


def _as_array(mask: Tensor | np.ndarray, volume: Volume) -> np.ndarray:
    """Check a mask or its probabilities against the volume and the range of uint8."""
    if isinstance(mask, Tensor):
        # numpy has no bfloat16
        mask = (mask.float() if mask.is_floating_point() else mask).detach().cpu().numpy()
    array = np.asarray(mask)
    shape = tuple(volume.image.shape[1:])
    if array.ndim not in (3, 4) or array.shape[-3:] != shape:
        raise ShapeError(
            f"save_mask takes (D, H, W) or (K, D, H, W) with (D, H, W) = {shape} as volume "
            f"{volume.name} has, got {array.shape}"
        )
    low, high = array.min(), array.max()
    if array.ndim == 4 and len(array) <= 256 and np.isfinite([low, high]).all():
        return array
    if array.ndim == 3 and array.dtype.kind in "iub" and 0 <= low <= high <= 255:
        return array
    raise DataError(
        f"a mask of {volume.name} holds whole class numbers from 0 to 255, or finite "
        f"probabilities (K, D, H, W) of at most 256 classes, got {array.dtype} {array.shape} "
        f"from {low:g} to {high:g}"
    )


def _on_grid(array: np.ndarray, volume: Volume, grid: Grid, source: Path) -> np.ndarray:
    """Resample a mask or probabilities from the volume's grid to the file's, as class numbers."""
    step, offset = _index_map(volume, grid, source)
    shape = array.shape[-3:]
    if shape == grid.shape and np.allclose([step, offset], [[1] * 3, [0] * 3], atol=1e-3):
        return array.argmax(0) if array.ndim == 4 else array
    if array.ndim == 4:
        mask_DHW = resample_classes(enumerate(array), step, offset, grid.shape)
    else:
        mask_DHW = resample_labels(array, step, offset, grid.shape)
    for axis in range(3):
        index = step[axis] * np.arange(grid.shape[axis]) + offset[axis]
        outside = (index < -0.5 - 1e-3) | (index > shape[axis] - 0.5 + 1e-3)
        np.moveaxis(mask_DHW, axis, 0)[outside] = 0
    return mask_DHW


def _index_map(volume: Volume, grid: Grid, source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Step and offset, from an index of the file's grid to one of the volume's."""
    index_map = np.linalg.solve(volume.affine, grid.affine)
    step, offset = np.diag(index_map)[:3], index_map[:3, 3]
    if abs(index_map[:3, :3] - np.diag(step)).max() > 1e-3 or (step <= 0).any():
        raise DataError(
            f"volume {volume.name} lies at an angle to {source}; give the image it was loaded from"
        )
    return step, offset
