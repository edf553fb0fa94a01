"""Datasets of HDF5 files, through h5py: `file.h5:path/in/it`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.arrays import array_scan, first_of, only, spacing_of
from lean3d.data.formats.registry import Scan, register_reader
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["open_hdf5"]


def _is_hdf5(start: bytes) -> bool:
    return start[:8] == b"\x89HDF\r\n\x1a\n"


@register_reader("HDF5", ".h5", ".hdf5", ".hdf", magic=_is_hdf5, inside=True)
def open_hdf5(path: Path, inside: str | None = None) -> Scan:
    """Open a dataset: the one named, the only one, or the one called raw, image, volume or data.

    Its attribute `resolution` (nm), `element_size_um` or `spacing_mm` is the spacing along D, H, W,
    and `offset` (nm) says where its first voxel is in a larger volume.
    """
    with _file(path) as file:
        found = _named(file, path, inside) if inside else only(path, _arrays(file))
        name, shape, dtype, sides = found.name, found.shape, found.dtype, spacing_of(found.attrs)
        first = first_of(found.attrs, sides)

    def read(part: tuple[slice, ...]) -> np.ndarray:
        with _file(path) as file:
            return file[name][part]

    return array_scan(path, shape, dtype, read, sides, first=first)


def _file(path: Path) -> Any:
    h5py = require("h5py", extra="volume")
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file; check the path")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5 ({error}); export it again") from error


def _arrays(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every dataset of three axes or more, by its path."""
    for name, one in group.items():
        if hasattr(one, "items"):
            yield from _arrays(one, f"{above}{name}/")
        elif getattr(one, "ndim", 0) >= 3:
            yield above + name, one


def _named(file: Any, path: Path, inside: str) -> Any:
    if inside not in file or not hasattr(file[inside], "dtype"):
        there = ", ".join(name for name, _ in _arrays(file)) or "none"
        raise DataError(f"{path} has no dataset {inside}; there are: {there[:200]}")
    return file[inside]
