"""Arrays on disk, chunk by chunk, as Zarr.

Axes: K channels, D depth, H height, W width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.errors import LeanError, RunError
from lean3d.optional import require
from lean3d.shape import Triple

__all__ = ["load_table", "make_array", "open_array", "read_part", "save_table", "write_ome"]


def make_array(path: Path, shape: Sequence[int], chunks: Sequence[int], dtype: str) -> None:
    """Make an array of zeros, unless it is there: each chunk is written as a whole."""
    zarr = require("zarr", extra="neurons")
    if not (path / "zarr.json").exists():
        sides = tuple(min(a, b) for a, b in zip(chunks, shape, strict=True))
        zarr.create_array(path, shape=tuple(shape), chunks=sides, dtype=dtype, overwrite=True)


def open_array(path: Path) -> Any:
    """Open an array for reading and writing."""
    return require("zarr", extra="neurons").open_array(path, mode="r+")


def read_part(path: Path, window: tuple[slice, ...]) -> np.ndarray:
    """Read a window of an array that an earlier stage has written.

    Raises:
        RunError: it cannot be read.
    """
    with _whole(path):
        return np.asarray(open_array(path)[window])


def load_table(path: Path, *names: str) -> list[Any]:
    """Read arrays that `save_table` has written.

    Raises:
        RunError: they cannot be read.
    """
    with _whole(path), np.load(path) as table:
        return [table[name] for name in names]


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (LeanError, MemoryError):
        raise
    # a library fails in whichever line reads the damage first
    except Exception as error:
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise RunError(
            f"{path} cannot be read ({why}): what an earlier stage wrote is damaged; delete the "
            "folder of the work, which ends in .work, and run the command again"
        ) from error


def write_ome(
    folder: Path,
    voxel_nm: Sequence[float],
    name: str,
    scales: Sequence[Triple] = ((1, 1, 1),),
    first: Sequence[int] = (0, 0, 0),
) -> None:
    """Describe the arrays `0`, `1`, ... of a folder as the scales of an OME-Zarr image (0.5).

    Args:
        voxel_nm: Size of a voxel of array `0` (D, H, W).
        scales: How many of its voxels one of each array takes together along D, H, W.
        first: Place (D, H, W) of its first voxel in a larger volume, in voxels.
    """
    zarr = require("zarr", extra="neurons")
    group = zarr.open_group(folder, mode="a")
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    levels = []
    for number, factor in enumerate(scales):
        sides = [float(side * f) for side, f in zip(voxel_nm, factor, strict=True)]
        # the middle of the first voxel
        place = [
            float(side * (n + (f - 1) / 2))
            for side, n, f in zip(voxel_nm, first, factor, strict=True)
        ]
        told: list[dict[str, Any]] = [{"type": "scale", "scale": sides}]
        if any(place):
            told.append({"type": "translation", "translation": place})
        levels.append({"path": str(number), "coordinateTransformations": told})
    image = {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": levels}]}
    group.attrs["ome"] = image


def save_table(path: Path, **columns: np.ndarray) -> None:
    """Write arrays under another name first, so that a kill leaves none or all."""
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, **columns)  # type: ignore[arg-type]
    temporary.replace(path)
