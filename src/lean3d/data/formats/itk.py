"""NRRD and MetaImage, through SimpleITK."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.meta_image import check_meta_image
from lean3d.data.formats.nrrd import check_nrrd
from lean3d.data.formats.registry import Scan, register_reader, register_writer
from lean3d.data.grid import Grid
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["open_itk", "write_itk"]

SUFFIXES = ".nrrd", ".nhdr", ".mha", ".mhd"
# ITK's axes point to left, posterior, superior
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def _is_itk(start: bytes) -> bool:
    return start[:4] == b"NRRD" or start.startswith((b"ObjectType", b"NDims"))


@register_reader("NRRD or MetaImage", *SUFFIXES, magic=_is_itk)
def open_itk(path: Path, inside: str | None = None) -> Scan:
    """Open a file by its header; several values a voxel, or a fourth axis, are channels."""
    itk = require("SimpleITK", extra="volume")
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file; check the path")
    with path.open("rb") as start:
        first = start.read(16)
    if path.suffix.lower() in (".mha", ".mhd") or (_is_itk(first) and first[:4] != b"NRRD"):
        check = check_meta_image(path)
    else:
        check = check_nrrd(path)
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    file = itk.ImageFileReader()
    file.SetFileName(str(path))
    try:
        file.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    sizes, values = file.GetSize(), file.GetNumberOfComponents()
    if len(sizes) not in (3, 4) or (len(sizes) == 4 and values > 1) or 0 in sizes:
        raise DataError(
            f"{path} has {len(sizes)} axes ({' x '.join(map(str, sizes))}), not 3, or 4 with "
            "channels; give one 3D volume a file"
        )
    grid = Grid.at(_affine(file, len(sizes)), sizes[:3])
    dtype = _dtype(itk.GetPixelIDValueAsString(file.GetPixelID()))

    @cache
    def check_voxels() -> None:
        if check is not None:
            check()

    def load(planes: slice) -> np.ndarray:
        check_voxels()
        try:
            stored = itk.GetArrayFromImage(file.Execute())
        except RuntimeError as error:
            raise _unreadable(path, error) from error
        # (z, y, x), with channels last for vectors and first for a fourth axis
        x_KZYX = np.moveaxis(stored, -1, 0) if values > 1 else stored.reshape(-1, *sizes[2::-1])
        return grid.turn(x_KZYX.transpose(3, 2, 1, 0))[:, planes]

    return Scan(grid, values if len(sizes) == 3 else sizes[3], dtype, load)


@register_writer(".nrrd", ".mha", ".mhd")
def write_itk(
    path: Path, mask_DHW: np.ndarray, grid: Grid, files: tuple[Path, ...], names: tuple[str, ...]
) -> None:
    """Write class numbers as uint8, on the axes of the scan's file."""
    itk = require("SimpleITK", extra="volume")
    stored = grid.turn_back(mask_DHW.astype(np.uint8, copy=False)).reshape(grid.stored[:3])
    affine = grid.stored_affine
    image = itk.GetImageFromArray(np.ascontiguousarray(stored.T))
    axes = LPS_TO_RAS @ affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((LPS_TO_RAS @ affine[:3, 3]).tolist())
    image.SetDirection((axes / spacing).ravel().tolist())
    itk.WriteImage(image, str(path), useCompression=path.suffix != ".mhd")


def _affine(file: Any, dims: int) -> np.ndarray:
    axes = np.array(file.GetDirection()).reshape(dims, dims)[:3, :3] * file.GetSpacing()[:3]
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ axes
    affine[:3, 3] = LPS_TO_RAS @ file.GetOrigin()[:3]
    return affine


def _dtype(said: str) -> np.dtype:
    """The numpy type of SimpleITK's "16-bit signed integer", "vector of 32-bit float"."""
    found = re.search(r"(\d+)-bit (unsigned|signed|float)", said)
    if found is None:
        return np.dtype(complex)
    kind = {"unsigned": "u", "signed": "i", "float": "f"}[found[2]]
    return np.dtype("complex64") if "complex" in said else np.dtype(f"{kind}{int(found[1]) // 8}")


def _unreadable(path: Path, error: Exception) -> DataError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = re.sub(r"^itk::ERROR: |\(0x[0-9a-f]+\)", "", lines[-1] if lines else "")
    return DataError(
        f"{path} cannot be read as NRRD or MetaImage ({why[:160]}); it is damaged, or its voxels "
        "are missing: export it again"
    )
