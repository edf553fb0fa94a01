"""Arrays of numpy: .npy, and `file.npz:name`."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.arrays import array_scan, only, spacing_of
from lean3d.data.formats.registry import Scan, register_reader, register_writer
from lean3d.data.grid import Grid
from lean3d.errors import DataError

__all__ = ["open_npy", "open_npz", "write_npy"]


@register_reader("npy", ".npy", magic=lambda start: start[:6] == b"\x93NUMPY")
def open_npy(path: Path, inside: str | None = None) -> Scan:
    """Open an array (D, H, W), or of four axes with channels; only what is needed is read."""
    array = _opened(path, "r")
    return array_scan(path, array.shape, array.dtype, lambda part: np.array(array[part]), None)


@register_reader("npz", ".npz", inside=True)
def open_npz(path: Path, inside: str | None = None) -> Scan:
    """Open an array by its name, the only one, or the one called raw, image, voxel or data.

    An array `spacing_mm` beside it holds its spacing along D, H, W.
    """
    with _opened(path) as file:
        names = (
            [name for name in file.files if file[name].ndim >= 3] if inside is None else [inside]
        )
        if inside is not None and inside not in file.files:
            raise DataError(
                f"{path} has no array {inside}; there are: {', '.join(file.files)[:200]}"
            )
        array = only(path, ((name, file[name]) for name in names))
        sides = spacing_of({"spacing_mm": file["spacing_mm"]} if "spacing_mm" in file.files else {})
    return array_scan(path, array.shape, array.dtype, lambda part: array[part], sides)


@register_writer(".npy")
def write_npy(
    path: Path, mask_DHW: np.ndarray, grid: Grid, files: tuple[Path, ...], names: tuple[str, ...]
) -> None:
    """Write class numbers (D, H, W) as uint8."""
    with path.open("wb") as file:
        np.save(file, mask_DHW.astype(np.uint8, copy=False))


def _opened(path: Path, mode: Any = None) -> Any:
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file; check the path")
    try:
        # numpy leaves a file open that is no archive
        if mode is None and not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("it is no archive")
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        # numpy's advice is to run the code in it
        pickled = "allow_pickle" in str(error)
        why = "it is no array" if pickled else str(error).partition("\n")[0][:160]
        raise DataError(f"{path} cannot be read as numpy ({why}); save it again") from error
