"""Volumes that are larger than memory: read, resampled and scaled slab by slab into a file.

The tensor of such a volume is mapped to the file; the system keeps in memory what is used.

Axes: C channels, D depth, H height, W width.
"""

import gzip
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lean3d.data.folder import ImagePath
from lean3d.data.formats.registry import Scan, stem
from lean3d.data.intensity import HOUNSFIELD, Scale, is_ct
from lean3d.data.load import Spacing, check_same_grid, target_grid
from lean3d.data.read import open_scan
from lean3d.data.resample import resample
from lean3d.data.volume import Volume
from lean3d.errors import DataError

__all__ = ["bytes_of", "load_on_disk", "mapped"]

# bytes of a slab
SLAB = 64 << 20


def bytes_of(image: ImagePath) -> int:
    """Return the bytes of a scan in float32, by its headers."""
    scans = [open_scan(Path(path)) for path in _paths(image)]
    return sum(4 * scan.channels * math.prod(scan.grid.shape) for scan in scans)


def mapped(path: Path, shape: Sequence[int], dtype: type = np.float32) -> Tensor:
    """Make a tensor in a new file."""
    return torch.from_numpy(np.memmap(path, dtype=dtype, mode="w+", shape=tuple(shape)))


def load_on_disk(
    image: ImagePath,
    folder: Path,
    spacing_mm: Spacing | None = None,
    scales: Sequence[Scale | None] | None = None,
) -> Volume:
    """Read, resample and scale a scan as `load_volume` and `normalise` do, into files of a folder.

    Args:
        folder: For the files; they are as large as the scan in float32.

    Raises:
        DataError: as `load_volume`.
    """
    scans = [_open(path, folder) for path in _paths(image)]
    grid = scans[0][1].grid
    for path, scan in scans[1:]:
        check_same_grid("channel", path, scan.grid, scans[0][0], grid)
    name = stem(scans[0][0])
    step, offset, size, affine = target_grid(grid, spacing_mm, name)
    channels = sum(scan.channels for _, scan in scans)
    image_CDHW = mapped(folder / "image.f32", (channels, *size))
    first = 0
    for path, scan in scans:
        for start, stop in _slabs(size, scan.channels):
            part = _part(path, scan, start, stop, (step, offset, size))
            image_CDHW[first : first + scan.channels, start:stop] = torch.from_numpy(part)
        first += scan.channels
    volume = Volume(image_CDHW, None, affine, name, scans[0][1].modality, grid.known)
    _scale(volume, scales)
    return replace(volume, image=image_CDHW)


def _paths(image: ImagePath) -> list[Path]:
    return [Path(path) for path in (image if isinstance(image, tuple) else (image,))]


def _open(path: Path, folder: Path) -> tuple[Path, Scan]:
    """Open a scan of which slabs can be read: a compressed NIfTI is unpacked first."""
    scan = open_scan(path)
    with path.open("rb") if path.is_file() else open("/dev/null", "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if not packed:
        return path, scan
    plain = folder / f"{stem(path)}.nii"
    with gzip.open(path) as file, plain.open("wb") as whole:
        shutil.copyfileobj(file, whole, 1 << 24)
    return plain, open_scan(plain)


def _slabs(size: Sequence[int], channels: int) -> Iterator[tuple[int, int]]:
    planes = max(1, SLAB // (4 * channels * size[1] * size[2]))
    yield from ((start, min(start + planes, size[0])) for start in range(0, size[0], planes))


def _part(
    path: Path,
    scan: Scan,
    start: int,
    stop: int,
    onto: tuple[np.ndarray, np.ndarray, tuple[int, int, int]],
) -> np.ndarray:
    """Planes start to stop of the volume, from those of the file that they need."""
    step, offset, size = onto
    same = bool((step == 1).all()) and not offset.any()
    low, high = start, stop
    if not same:
        low = max(0, math.floor(step[0] * start + offset[0]) - 1)
        high = min(scan.grid.shape[0], math.ceil(step[0] * (stop - 1) + offset[0]) + 2)
        low, high = min(low, scan.grid.shape[0] - 1), max(high, low + 1)
    # a copy: the buffer of a file may not be written to
    x_CDHW = np.array(scan.load(slice(low, high)), dtype=np.float32, order="C")
    if not np.isfinite(x_CDHW).all():
        raise DataError(f"{path} holds NaN or infinity; replace them or export the scan again")
    if same:
        return x_CDHW
    moved = offset + np.array([step[0] * start - low, 0, 0])
    shape = (stop - start, size[1], size[2])
    return np.stack([resample(x_DHW, step, moved, shape) for x_DHW in x_CDHW])


def _scale(volume: Volume, scales: Sequence[Scale | None] | None) -> None:
    """Scale every channel in place."""
    if scales is None:
        scales = [HOUNSFIELD if is_ct(x, volume.modality) else None for x in volume.image]
    for x_DHW, scale in zip(volume.image, scales, strict=True):
        chosen = scale or _own_scale(x_DHW)
        for start, stop in _slabs(x_DHW.shape, 1):
            x_DHW[start:stop] = chosen(x_DHW[start:stop])


def _own_scale(x_DHW: Tensor) -> Scale:
    """Mean and deviation of the foreground, as `normalise` finds it."""
    corners = x_DHW[[0, -1]][:, [0, -1]][:, :, [0, -1]]
    background = corners[0, 0, 0].item() if corners.min() == corners.max() else None
    found = _moments(x_DHW, background)
    if background is not None and not found[1]:
        found = _moments(x_DHW, None)
    mean, deviation = found
    return Scale(-math.inf, math.inf, mean, deviation or 1.0)


def _moments(x_DHW: Tensor, background: float | None) -> tuple[float, float]:
    """Mean and deviation of all values but the background's."""
    count, mean, squares = 0, 0.0, 0.0
    for start, stop in _slabs(x_DHW.shape, 1):
        values = x_DHW[start:stop].double().flatten()
        values = values if background is None else values[values != background]
        if not len(values):
            continue
        own, more = values.mean().item(), len(values)
        # the sums of two parts, as in Chan et al., 1979
        squares += ((values - own) ** 2).sum().item()
        squares += (own - mean) ** 2 * count * more / (count + more)
        mean += (own - mean) * more / (count + more)
        count += more
    return mean, math.sqrt(squares / count) if count else 0.0
