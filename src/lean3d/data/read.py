"""Read one scan, or its labels, completely, or raise one sentence with the reason.

Axes: C channels, D depth (superior), H height (anterior), W width (right).
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from lean3d.data.formats.registry import Scan, Window, find_reader, split
from lean3d.data.grid import Grid
from lean3d.errors import DataError, LeanError
from lean3d.limits import check_memory, out_of_memory

__all__ = ["grey_values", "open_scan", "read_image", "read_label", "read_scan", "said_values"]

# slices along D, or along D, H, W
Where = TypeVar("Where")

LOG = logging.getLogger("lean3d")

# a class number stored as a float may differ from it by this
ROUNDED = 1e-4


def open_scan(path: Path) -> Scan:
    """Open a scan of any known format by its header: a file, a folder or file.h5:dataset.

    Raises:
        DataError: here or where its voxels are read, whatever the format's own library raises.
    """
    whole = path
    path, inside = split(path)
    with _readable(whole):
        scan = find_reader(path)(path, inside)
    part = None if scan.part is None else _guarded(scan.part, whole)
    return replace(scan, load=_guarded(scan.load, whole), part=part)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (LeanError, MemoryError):
        raise
    # a library fails in whichever line reads the damage first
    except Exception as error:
        if out_of_memory(error, str(error)) is not None:
            raise
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"{path} cannot be read ({why}); it is damaged: copy or export it again"
        ) from error


def _guarded(read: Callable[[Where], np.ndarray], path: Path) -> Callable[[Where], np.ndarray]:
    def guarded(where: Where) -> np.ndarray:
        with _readable(path):
            return read(where)

    return guarded


def read_image(path: Path) -> tuple[np.ndarray, Grid]:
    """Return all channels, (C, D, H, W) float32, finite and not constant."""
    x_CDHW, scan = read_scan(path)
    return x_CDHW, scan.grid


def read_scan(path: Path, window: Window | None = None) -> tuple[np.ndarray, Scan]:
    """Return all channels as `read_image` does, and what the header says.

    Args:
        window: Read a part, by slices along D, H, W.
    """
    scan = open_scan(path)
    x_CDHW = _voxels(scan, path) if window is None else scan.window(window)
    with np.errstate(over="ignore"):
        x_CDHW = np.require(x_CDHW, np.float32, ["C", "W"])
    finite = np.isfinite(x_CDHW)
    if not finite.all():
        raise DataError(
            f"{path} holds NaN or infinity in {(~finite).sum()} of {finite.size} voxels; "
            "replace them or export the scan again"
        )
    if x_CDHW.min() == x_CDHW.max():
        raise DataError(
            f"every voxel of {path} is {x_CDHW.flat[0]:g}: the scan is empty; export it again"
        )
    return x_CDHW, scan


def read_label(
    path: Path, num_classes: int | None = None, values: Sequence[int] | None = None
) -> tuple[np.ndarray, Grid]:
    """Return the class of every voxel, (D, H, W) int64, within 0 .. num_classes - 1.

    A file that scales integers holds class numbers if each value is at most half a step of the
    scale away from one.

    Args:
        values: The values in the file that are the classes 0, 1, ...; by default the classes
            themselves, or evenly spaced grey values from 0 to 255 for 0 .. num_classes - 1.
    """
    scan = open_scan(path)
    stored = _voxels(scan, path)
    if len(stored) != 1:
        raise DataError(
            f"{path} has {len(stored)} channels, and labels are one class number a voxel; "
            "give one file with the classes 0, 1, 2, ..."
        )
    label_DHW = _whole_numbers(stored[0], path, scan.step)
    if values is not None:
        return _by_values(label_DHW, values, path), scan.grid
    low, high = int(label_DHW.min()), int(label_DHW.max())
    if low >= 0 and high < (np.inf if num_classes is None else num_classes):
        return label_DHW, scan.grid
    found = np.unique(label_DHW)
    if num_classes is not None and (greys := grey_values(num_classes, found)) is not None:
        LOG.warning("%s: %s", path, said_values(greys))
        return _by_values(label_DHW, greys, path), scan.grid
    shown = ", ".join(map(str, found[:12])) + (", ..." if len(found) > 12 else "")
    allowed = "0 and above" if num_classes is None else f"0 to {num_classes - 1}"
    raise DataError(
        f"{path} holds the labels {shown} where {allowed} are expected; "
        "renumber them or give another number of classes"
    )


def grey_values(num_classes: int, found: np.ndarray) -> tuple[int, ...] | None:
    """Return the grey values of a mask in 8 or 16 bits, if all found are among them.

    They are spread evenly from black to white, such as 0 and 255, or 0, 127 (or 128) and 255.
    """
    for white in (255, 65535):
        for rounded in (np.floor, np.ceil):
            greys = rounded(np.linspace(0, white, num_classes)).astype(int)
            if found.max() <= white and np.isin(found, greys).all():
                return tuple(greys.tolist())
    return None


def said_values(values: Sequence[int]) -> str:
    """Say which values of a file are which classes."""
    pairs = ", ".join(f"{value} as {number}" for number, value in enumerate(values))
    return f"labels are grey values, read as classes: {pairs}"


def _voxels(scan: Scan, path: Path) -> np.ndarray:
    if scan.dtype.kind not in "iufb":
        raise DataError(
            f"{path} holds {scan.dtype} voxels, not single real numbers; "
            "export it as one grey value a voxel"
        )
    # a NIfTI file is checked with its header, where it is read
    if scan.source is None:
        # as stored, and as they are returned
        number = scan.channels * math.prod(scan.grid.shape)
        check_memory(str(path), number * (scan.dtype.itemsize + 4), "crop or resample it first")
    return scan.load(slice(None))


def _whole_numbers(stored: np.ndarray, path: Path, step: float) -> np.ndarray:
    if stored.dtype.kind in "iub":
        return np.require(stored, np.int64, ["C", "W"])
    with np.errstate(invalid="ignore"):
        rounded = np.rint(stored)
        # the values of a scale coarser than the classes are exact, but for the arithmetic
        near = abs(stored - rounded) <= max(ROUNDED, step / 2 if step < 1 else 0)
    if not near.all():
        odd = stored[~near].flat[0]
        raise DataError(
            f"{path} holds the value {odd:g}, which is no class number; "
            "a label file holds whole numbers: was it interpolated, or is it the image?"
        )
    return np.ascontiguousarray(rounded, dtype=np.int64)


def _by_values(label_DHW: np.ndarray, values: Sequence[int], path: Path) -> np.ndarray:
    """Return the place of each voxel's value among `values`."""
    order = np.argsort(values)
    ordered = np.asarray(values)[order]
    place = np.searchsorted(ordered, label_DHW).clip(0, len(ordered) - 1)
    if not (right := ordered[place] == label_DHW).all():
        odd = label_DHW[~right].flat[0]
        raise DataError(
            f"{path} holds the value {odd}, which is no class among "
            f"{', '.join(map(str, values))}; add it to the label values or repair the file"
        )
    return order[place]
