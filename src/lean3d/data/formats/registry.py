"""Formats of scans: each is one file with a reader, found by the suffix of a name.

One in another package is found as well, see `lean3d.plugins`.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lean3d.data.grid import Grid
from lean3d.errors import DataError
from lean3d.plugins import Registry

__all__ = [
    "Scan",
    "Window",
    "check_endings",
    "check_writer",
    "find_reader",
    "find_writer",
    "is_scan",
    "register_reader",
    "register_writer",
    "split",
    "stem",
]


# slices along D, H, W
Window = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Scan:
    """An open file: what its header says, and a function that reads its voxels.

    Args:
        grid: Grid of the voxels.
        channels: How many values a voxel has.
        dtype: Type of the values.
        load: Called with a slice along D; returns (C, d, H, W) as stored, values scaled.
        part: Called with slices along D, H, W; returns (C, d, h, w), and reads no more than that.
            Formats that are read by whole slices have none.
        first: Place (D, H, W) of the first voxel in a larger volume, where the file says it:
            CREMI's labels are of the middle of their image. None where it does not.
        scales: Names of coarser scales that the file also holds, `file:name`.
        step: Smallest difference between two values of a file that scales integers, or 0.
        names: Of the channels, if the file has any.
        modality: Such as "CT" or "MR", if the file says it.
        source: The library's own image, for writers that copy its header.
    """

    grid: Grid
    channels: int
    dtype: np.dtype
    load: Callable[[slice], np.ndarray]
    step: float = 0.0
    names: tuple[str, ...] | None = None
    modality: str | None = None
    source: Any = None
    part: Callable[[Window], np.ndarray] | None = None
    first: tuple[int, int, int] | None = None
    scales: tuple[str, ...] = ()

    def window(self, window: Window) -> np.ndarray:
        """Return a part (C, d, h, w) as stored, by slices along D, H, W."""
        if self.part is not None:
            return self.part(window)
        return self.load(window[0])[:, :, window[1], window[2]]


Opener = Callable[[Path, str | None], Scan]
# path, (D, H, W) class numbers, their grid, the files of the scan
MaskWriter = Callable[[Path, np.ndarray, Grid, tuple[Path, ...], tuple[str, ...]], None]
# called with the files of a scan; refuses one for which it has no mask
Check = Callable[[tuple[Path, ...]], None]
# keeps the signature of a function that is registered
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Reader:
    name: str
    suffixes: tuple[str, ...]
    open: Opener
    folder: Callable[[Path], bool] | None
    magic: Callable[[bytes], bool] | None
    inside: bool


_READERS: Registry[_Reader] = Registry("format of scans", "lean3d.data.formats")
# by suffix; the modules that add them are those of the readers
_WRITERS: dict[str, MaskWriter] = {}
_CHECKS: dict[str, Check] = {}


def register_reader(
    name: str,
    *suffixes: str,
    folder: Callable[[Path], bool] | None = None,
    magic: Callable[[bytes], bool] | None = None,
    inside: bool = False,
) -> Callable[[Function], Function]:
    """Decorate a function (path, name inside the file or None) -> Scan.

    Args:
        name: Name of the format, for messages.
        suffixes: Of its files, in lower case.
        folder: Whether a folder is a scan of this format.
        magic: Whether the first 512 bytes of a file are of this format, if no suffix says it.
        inside: Whether `file:name` selects a part of a file.
    """

    def register(function: Function) -> Function:
        _READERS.add(name, _Reader(name, suffixes, function, folder, magic, inside))
        return function

    return register


def register_writer(*suffixes: str, check: Check | None = None) -> Callable[[Function], Function]:
    """Decorate a function that writes a mask: (path, mask_DHW, grid, files of the scan, names).

    Args:
        check: Called with the files of a scan before the work; refuses those it cannot write for.
    """

    def register(function: Function) -> Function:
        _WRITERS.update(dict.fromkeys(suffixes, function))
        _CHECKS.update({} if check is None else dict.fromkeys(suffixes, check))
        return function

    return register


def _suffix(name: str) -> str | None:
    """Return the longest suffix of a known format that a name ends in, as it is spelt."""
    ends = [s for r in _READERS.values() for s in r.suffixes if name.lower().endswith(s)]
    return name[-len(max(ends, key=len)) :] if ends else None


def stem(path: Path) -> str:
    """The file's name without the suffix of its format."""
    name = split(path)[0].name
    return name.removesuffix(_suffix(name) or "")


def split(path: Path) -> tuple[Path, str | None]:
    """Split file.h5:dataset/path into the file and the name inside it."""
    text = str(path)
    if ":" in text and not path.exists():
        suffixes = {s for r in _READERS.values() if r.inside for s in r.suffixes}
        pattern = "|".join(re.escape(suffix) for suffix in sorted(suffixes))
        if found := re.match(rf"(.*?(?:{pattern})):(.+)$", text, re.IGNORECASE):
            return Path(found[1]), found[2]
        outer, _, inside = text.rpartition(":")
        if Path(outer).is_dir():
            return Path(outer), inside
    return path, None


def is_scan(path: Path) -> bool:
    """Whether a file, or a folder, is by its name or its contents a scan of a known format."""
    if path.name.startswith("."):
        return False
    if _suffix(path.name) is not None:
        return True
    return path.is_dir() and any(r.folder and r.folder(path) for r in _READERS.values())


def find_reader(path: Path) -> Opener:
    """Return the reader of a file or folder.

    Raises:
        DataError: it does not exist, or is of no known format.
    """
    end = (_suffix(path.name) or "").lower()
    if path.is_dir():
        for one in _READERS.values():
            if one.folder is not None and (end in one.suffixes or one.folder(path)):
                return one.open
        raise DataError(
            f"{path} is a folder that holds no scan; expected the slices of one DICOM series, "
            "images whose names differ in one number alone, Zarr, N5 or neuroglancer precomputed"
        )
    for one in _READERS.values():
        if end in one.suffixes and end:
            return one.open
    if not path.is_file():
        outer, _, inside = str(path).rpartition(":")
        if Path(outer).is_file():
            raise DataError(f"{outer} holds one volume and nothing called {inside}; give {outer}")
        raise DataError(f"{path} does not exist or is not a file; check the path")
    with path.open("rb") as file:
        start = file.read(512)
    for one in _READERS.values():
        if one.magic is not None and one.magic(start):
            return one.open
    names = ", ".join(r.name for r in _READERS.values())
    raise DataError(f"{path} is of no format that is read ({names}); convert it to .nii.gz first")


def find_writer(path: Path) -> MaskWriter:
    """Return the function that writes a mask under this name.

    Raises:
        DataError: the suffix is of no format that is written.
    """
    return _WRITERS[_ending(path)]


def check_writer(path: Path, files: tuple[Path, ...]) -> None:
    """Refuse a mask of this name for a scan of these files.

    Raises:
        DataError: the suffix is of no format that is written, or that format takes other scans.
    """
    if (check := _CHECKS.get(_ending(path))) is not None:
        check(files)


def _ending(path: Path) -> str:
    ends = _written(path.name)
    if not ends:
        known = ", ".join(sorted(_WRITERS))
        raise DataError(f"a mask is written as {known}, got {path}; change the ending")
    return max(ends, key=len)


def check_endings(endings: Iterable[str]) -> None:
    """Refuse what cannot be put behind the name of a mask.

    Raises:
        DataError: names the ending, and those of the formats.
    """
    for ending in endings:
        if not _written(ending) or ending[0] != "." or {"/", os.sep, "\0"} & set(ending):
            known = ", ".join(sorted(_WRITERS))
            raise DataError(
                f"a mask ends in the suffix of a format, {known}, got {ending[:60]!r}; give "
                "one of these"
            )


def _written(name: str) -> list[str]:
    """Return the suffixes of formats that are written which a name ends in."""
    len(_READERS)  # imports the formats, of plug-ins too
    return [suffix for suffix in _WRITERS if name.lower().endswith(suffix)]
