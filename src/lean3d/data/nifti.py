"""Read NIfTI files as volumes, and write masks on exactly the voxels of the input file.

Axes: C channels, K classes, D depth (superior), H height (anterior), W width (right).
"""

import gzip
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lean3d.data.folder import ImagePath, find_pairs, stem
from lean3d.data.read import Grid, open_nifti, read_image, read_label
from lean3d.data.resample import resample, resample_classes
from lean3d.data.volume import Volume
from lean3d.errors import DataError, ShapeError
from lean3d.files import write_whole
from lean3d.limits import check_memory

__all__ = ["find_pairs", "load_folder", "load_volume", "save_mask"]

Spacing = float | Sequence[float]


def load_volume(
    image_path: str | ImagePath,
    label_path: str | Path | None = None,
    *,
    spacing_mm: Spacing | None = None,
    num_classes: int | None = None,
) -> Volume:
    """Read a scan, and its labels, turned to (D, H, W) and resampled if asked.

    Args:
        image_path: One file, or a sequence of files that are the channels of one scan.
        spacing_mm: Millimetres per voxel, for all axes or for (D, H, W); None keeps the file's.
            The image is interpolated linearly; a voxel's label is the class with the largest share.
        num_classes: Labels must be within 0 .. num_classes - 1; None allows any whole number.

    Raises:
        DataError: a file is missing, damaged, not NIfTI, not 3D, empty, holds NaN or infinity, or
            does not fit the others.
    """
    paths = [Path(p) for p in ([image_path] if isinstance(image_path, str | Path) else image_path)]
    channels = [read_image(path) for path in paths]
    grid = channels[0][1]
    for path, (_, other) in zip(paths[1:], channels[1:], strict=True):
        _check_same_grid("channel", path, other, paths[0], grid)
    image = [x_DHW for x_DHW, _ in channels]
    label = None
    if label_path is not None:
        label, label_grid = read_label(Path(label_path), num_classes)
        _check_same_grid("label", Path(label_path), label_grid, paths[0], grid)
    name = stem(paths[0])
    if spacing_mm is not None:
        return _at_spacing(image, label, grid, _spacing(spacing_mm), name)
    label_DHW = None if label is None else torch.from_numpy(label)
    return Volume(torch.from_numpy(np.stack(image)), label_DHW, grid.affine, name)


def load_folder(
    folder: str | Path, num_classes: int, spacing_mm: Spacing | None = None
) -> list[Volume]:
    """Read every labelled case of a folder (layouts: see lean3d.data.folder), sorted by name."""
    volumes = []
    for image, label, name in find_pairs(folder):
        volume = load_volume(image, label, spacing_mm=spacing_mm, num_classes=num_classes)
        volumes.append(replace(volume, name=name))
    return volumes


def save_mask(
    path: str | Path, mask: Tensor | np.ndarray, volume: Volume, like: str | ImagePath
) -> None:
    """Write class numbers as uint8 on exactly the grid of `like`, atomically.

    Orientation, affine, voxel sizes, units and both NIfTI transforms are those of `like`; only
    the type, scaling and display range of the voxels change. A mask on a resampled volume is
    resampled back by class, linearly; voxels of `like` outside a cropped volume become class 0.

    Args:
        mask: (D, H, W) class numbers, or (K, D, H, W) probabilities or scores, on the grid of
            `volume`.
        like: The image `volume` was loaded from.
    """
    path, source = Path(path), Path(like if isinstance(like, str | Path) else like[0])
    if not path.name.endswith((".nii", ".nii.gz")):
        raise DataError(f"a mask is written as .nii or .nii.gz, got {path}; change the ending")
    original, grid = open_nifti(source)
    mask_DHW = _on_grid(_as_array(mask, volume), volume, grid, source)
    header = original.header.copy()
    header.set_data_dtype(np.uint8)
    header["cal_min"] = header["cal_max"] = 0
    stored = grid.turn_back(mask_DHW.astype(np.uint8))
    content = type(original)(stored, original.affine, header).to_bytes()
    with write_whole(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _check_same_grid(what: str, path: Path, grid: Grid, first: Path, expected: Grid) -> None:
    if grid.shape != expected.shape:
        got, want = (" x ".join(map(str, reversed(g.shape))) for g in (grid, expected))
        raise DataError(
            f"{what} {path} has {got} voxels (right, anterior, superior) where its image {first} "
            f"has {want}; resample it onto the image's grid"
        )
    if (apart := grid.far_from(expected)) > 0.1:
        raise DataError(
            f"the affine of {what} {path} places it up to {apart:.2g} voxels away from its image "
            f"{first}; resample it onto the image's grid or repair its header"
        )


def _spacing(spacing_mm: Spacing) -> list[float]:
    given = [spacing_mm] * 3 if isinstance(spacing_mm, int | float) else list(spacing_mm)
    if len(given) != 3 or not all(0 < value < np.inf for value in given):
        raise DataError(
            f"spacing_mm takes a positive number of millimetres, or three for (D, H, W), "
            f"got {spacing_mm}"
        )
    return [float(value) for value in given]


def _at_spacing(
    image: list[np.ndarray], label: np.ndarray | None, grid: Grid, wanted: list[float], name: str
) -> Volume:
    step = np.array(wanted) / np.linalg.norm(grid.affine[:3, :3], axis=0)
    # a header rounds its spacing; a difference of a thousandth does not justify resampling
    step[abs(step - 1) < 1e-3] = 1
    offset = (step - 1) / 2
    depth, height, width = np.ceil(np.array(grid.shape) / step - 1e-6).astype(int).tolist()
    size = (depth, height, width)
    if 0 in size:
        raise DataError(
            f"{name} is smaller than a voxel of {' x '.join(f'{side:g}' for side in wanted)} mm; "
            "choose a smaller spacing_mm"
        )
    # memory: one more channel, and per class of the labels its weights and the largest so far
    resampled = 4 * math.prod(size) * (len(image) + 1 + (0 if label is None else 6))
    what = f"{name} at {' x '.join(f'{side:g}' for side in wanted)} mm"
    check_memory(what, resampled, "choose a larger spacing_mm")
    affine = grid.affine @ _index_map(step, offset)
    if (step == 1).all():
        x_CDHW, label_DHW = np.stack(image), label
    else:
        x_CDHW = np.stack([resample(x_DHW, step, offset, size) for x_DHW in image])
        label_DHW = None if label is None else resample_classes(_one_hot(label), step, offset, size)
    labels = None if label_DHW is None else torch.from_numpy(label_DHW)
    return Volume(torch.from_numpy(x_CDHW), labels, affine, name)


def _index_map(step: np.ndarray, offset: np.ndarray) -> np.ndarray:
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = offset
    return matrix


def _one_hot(label_DHW: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for value in np.unique(label_DHW).tolist():
        yield value, label_DHW == value


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
    index_map = np.linalg.solve(volume.affine, grid.affine)
    step, offset = np.diag(index_map)[:3], index_map[:3, 3]
    if abs(index_map[:3, :3] - np.diag(step)).max() > 1e-3 or (step <= 0).any():
        raise DataError(
            f"volume {volume.name} lies at an angle to {source}; give the image it was loaded from"
        )
    shape = array.shape[-3:]
    if shape == grid.shape and np.allclose(index_map, np.eye(4), atol=1e-3):
        return array.argmax(0) if array.ndim == 4 else array
    classes = enumerate(array) if array.ndim == 4 else _one_hot(array)
    mask_DHW = resample_classes(classes, step, offset, grid.shape)
    for axis in range(3):
        index = step[axis] * np.arange(grid.shape[axis]) + offset[axis]
        outside = (index < -0.5 - 1e-3) | (index > shape[axis] - 0.5 + 1e-3)
        np.moveaxis(mask_DHW, axis, 0)[outside] = 0
    return mask_DHW
