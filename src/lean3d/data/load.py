"""Read scans with their labels as volumes, resampled if asked.

Axes: C channels, D depth (superior), H height (anterior), W width (right).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lean3d.data.folder import ImagePath, find_pairs
from lean3d.data.formats.registry import stem
from lean3d.data.grid import Grid
from lean3d.data.read import open_scan, read_label, read_scan
from lean3d.data.resample import resample, resample_labels
from lean3d.data.volume import Volume
from lean3d.errors import DataError
from lean3d.limits import check_memory
from lean3d.shape import Triple

__all__ = [
    "Spacing",
    "check_label",
    "check_same_grid",
    "load_folder",
    "load_volume",
    "resampled",
    "target_grid",
]

Spacing = float | Sequence[float]


def load_volume(
    image_path: str | ImagePath,
    label_path: str | ImagePath | None = None,
    *,
    spacing_mm: Spacing | None = None,
    num_classes: int | None = None,
    label_values: Sequence[int] | None = None,
) -> Volume:
    """Read a scan, and its labels, turned to (D, H, W) and resampled if asked.

    A format is found by its suffix, or by its contents (docs/data.md). `scans.h5:raw` is a
    dataset of a file, `folder:3` the third series of a folder of DICOM files.

    Args:
        image_path: One file or folder, or a sequence of them that are the channels of one scan; a
            file may hold several channels, such as a NIfTI with a fourth axis.
        label_path: A file of classes; a sequence of files are masks, which may overlap: the label
            is then the sum of 1 for a voxel of the first, 2 of the second, 4 of the third.
        spacing_mm: Millimetres per voxel, for all axes or for (D, H, W); None keeps the file's.
            The image is interpolated linearly; a voxel's label is the class with the largest share.
        num_classes: Labels must be within 0 .. num_classes - 1; None allows any whole number.
            Evenly spaced grey values from 0 to 255, such as 0 and 255, are read as classes.
        label_values: The values in the label file that are the classes 0, 1, ...

    Raises:
        DataError: a file is missing, damaged, of no known format, empty, holds NaN or infinity, or
            does not fit the others.
    """
    paths = _paths(image_path)
    files = [read_scan(path) for path in paths]
    grid = files[0][1].grid
    for path, (_, other) in zip(paths[1:], files[1:], strict=True):
        check_same_grid("channel", path, other.grid, paths[0], grid)
    image = [x_DHW for x_CDHW, _ in files for x_DHW in x_CDHW]
    labels = _labels(label_path, num_classes, label_values, paths[0], grid)
    name = stem(paths[0])
    if spacing_mm is not None:
        volume = _at_spacing(image, labels, grid, _spacing(spacing_mm), name)
    else:
        x_CDHW = files[0][0] if len(files) == 1 else np.stack(image)
        volume = Volume(torch.from_numpy(x_CDHW), _joined(labels), grid.affine, name)
    return replace(volume, modality=files[0][1].modality, placed=grid.known)


def check_label(
    image_path: str | ImagePath,
    label_path: str | ImagePath,
    num_classes: int | None = None,
    label_values: Sequence[int] | None = None,
) -> int:
    """Refuse labels as `load_volume` does, by the headers of the scan; return its channels."""
    paths = _paths(image_path)
    scans = [open_scan(path) for path in paths]
    for path, scan in zip(paths[1:], scans[1:], strict=True):
        check_same_grid("channel", path, scan.grid, paths[0], scans[0].grid)
    _labels(label_path, num_classes, label_values, paths[0], scans[0].grid)
    return sum(scan.channels for scan in scans)


def load_folder(
    folder: str | Path,
    num_classes: int | None = None,
    spacing_mm: Spacing | None = None,
    label_values: Sequence[int] | None = None,
) -> list[Volume]:
    """Read every labelled case of a folder (layouts: see lean3d.data.folder), sorted by name."""
    volumes = []
    for image, label, name in find_pairs(folder):
        volume = load_volume(
            image,
            label,
            spacing_mm=spacing_mm,
            num_classes=num_classes,
            label_values=label_values,
        )
        volumes.append(replace(volume, name=name))
    return volumes


def resampled(volume: Volume, spacing_mm: Spacing) -> Volume:
    """Resample a volume as `load_volume` does."""
    grid = Grid.stack(volume.image.shape[1:], volume.spacing)
    labels = [] if volume.label is None else [volume.label.numpy()]
    image = [x_DHW.numpy() for x_DHW in volume.image]
    placed = replace(grid, affine=volume.affine)
    changed = _at_spacing(image, labels, placed, _spacing(spacing_mm), volume.name)
    return replace(changed, modality=volume.modality, placed=volume.placed)


def check_same_grid(what: str, path: Path, grid: Grid, first: Path, expected: Grid) -> None:
    """Refuse a file whose voxels are not those of the first one."""
    if grid.shape != expected.shape:
        got, want = (" x ".join(map(str, reversed(g.shape))) for g in (grid, expected))
        raise DataError(
            f"{what} {path} has {got} voxels (right, anterior, superior) where its image {first} "
            f"has {want}; resample it onto the image's grid"
        )
    if (apart := grid.far_from(expected)) > 0.1:
        raise DataError(
            f"the header of {what} {path} places it up to {apart:.2g} voxels away from its image "
            f"{first}; resample it onto the image's grid or repair its header"
        )


def _paths(given: str | ImagePath) -> list[Path]:
    paths = [Path(path) for path in ([given] if isinstance(given, str | Path) else given)]
    if not paths:
        raise DataError("a volume takes a file, or one for each channel, got none")
    return paths


def _spacing(spacing_mm: Spacing) -> list[float]:
    given = np.ravel(spacing_mm)
    sides = given.repeat(3) if len(given) == 1 else given
    if sides.dtype.kind not in "iuf" or len(sides) != 3 or not all((sides > 0) & (sides < np.inf)):
        raise DataError(
            f"spacing_mm takes a positive number of millimetres, or three for (D, H, W), "
            f"got {spacing_mm}"
        )
    return [float(side) for side in sides]


def target_grid(
    grid: Grid, spacing_mm: Spacing | None, name: str
) -> tuple[np.ndarray, np.ndarray, Triple, np.ndarray]:
    """Return step and offset of the resampling, (D, H, W) and the affine after it."""
    if spacing_mm is None:
        return np.ones(3), np.zeros(3), grid.shape, grid.affine
    wanted = _spacing(spacing_mm)
    step = np.array(wanted) / grid.spacing
    # a header rounds its spacing; a difference of a thousandth does not justify resampling
    step[abs(step - 1) < 1e-3] = 1
    offset = (step - 1) / 2
    depth, height, width = np.ceil(np.array(grid.shape) / step - 1e-6).astype(int).tolist()
    if 0 in (depth, height, width):
        raise DataError(
            f"{name} is smaller than a voxel of {' x '.join(f'{side:g}' for side in wanted)} mm; "
            "choose a smaller spacing_mm"
        )
    return step, offset, (depth, height, width), grid.affine @ _index_map(step, offset)


def _at_spacing(
    image: list[np.ndarray], labels: list[np.ndarray], grid: Grid, wanted: list[float], name: str
) -> Volume:
    step, offset, size, affine = target_grid(grid, wanted, name)
    # memory: one more channel, and the labels
    resampled = 4 * math.prod(size) * (len(image) + 1 + 2 * len(labels))
    what = f"{name} at {' x '.join(f'{side:g}' for side in wanted)} mm"
    check_memory(what, resampled, "choose a larger spacing_mm")
    if (step == 1).all():
        x_CDHW = image[0][None] if len(image) == 1 else np.stack(image)
    else:
        x_CDHW = np.stack([resample(x_DHW, step, offset, size) for x_DHW in image])
        labels = [resample_labels(label, step, offset, size) for label in labels]
    return Volume(torch.from_numpy(x_CDHW), _joined(labels), affine, name)


def _label(
    path: Path,
    num_classes: int | None,
    values: Sequence[int] | None,
    image: Path,
    grid: Grid,
) -> np.ndarray:
    """Read a label on the grid of its image."""
    label_DHW, own = read_label(path, num_classes, values)
    check_same_grid("label", path, own, image, grid)
    return label_DHW


def _labels(
    given: str | ImagePath | None,
    num_classes: int | None,
    values: Sequence[int] | None,
    image: Path,
    grid: Grid,
) -> list[np.ndarray]:
    """Read a label, or several masks, on the grid of their image; empty if there is none."""
    if given is None:
        return []
    if isinstance(given, str | Path):
        return [_label(Path(given), num_classes, values, image, grid)]
    return [_label(Path(path), 2, None, image, grid) for path in given]


def _joined(labels: list[np.ndarray]) -> torch.Tensor | None:
    """Return a label, or several masks as the bits of one; None if there is none."""
    if not labels:
        return None
    label_DHW = labels[0]
    for bit, mask_DHW in enumerate(labels[1:], 1):
        label_DHW = label_DHW | mask_DHW << bit
    return torch.from_numpy(label_DHW)


def _index_map(step: np.ndarray, offset: np.ndarray) -> np.ndarray:
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = offset
    return matrix
