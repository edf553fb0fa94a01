"""NIfTI, Analyze and FreeSurfer's .mgz, through nibabel."""

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.lengths import millimetres
from lean3d.data.formats.nifti_room import check_end, check_extensions, check_room, is_packed
from lean3d.data.formats.registry import Scan, register_reader, register_writer
from lean3d.data.grid import Grid
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["open_nifti", "write_nifti"]

SUFFIXES = ".nii", ".nii.gz", ".img", ".hdr", ".mgz", ".mgh"
# size of the header -> class of nibabel
HEADERS = {348: "Nifti1Image", 540: "Nifti2Image"}
# voxels that are scaled at a time
SLAB = 1 << 23
# of compression: at 9 masks are little smaller and take many times as long
LEVEL = 6


def _is_nifti(start: bytes) -> bool:
    return start[:2] == b"\x1f\x8b" or start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0"


@register_reader("NIfTI", *SUFFIXES, magic=_is_nifti)
def open_nifti(path: Path, inside: str | None = None) -> Scan:
    """Open a file by its header alone; a fourth axis is its channels."""
    image = _open(path)
    sizes = " x ".join(map(str, image.shape))
    more = [size for size in image.shape[3:] if size != 1]
    if len(image.shape) < 3 or len(more) > 1:
        raise DataError(
            f"{path} has {len(image.shape)} axes ({sizes}), not 3, or 4 with channels; give one "
            "3D volume a file, for example split by nibabel.funcs.four_to_three"
        )
    if 0 in image.shape:
        raise DataError(f"{path} holds no voxels ({sizes}); export it again")
    affine = _affine(image, path)
    grid = Grid.at(affine, image.shape)
    slope = getattr(image.dataobj, "slope", 1.0)
    scaled = np.issubdtype(image.get_data_dtype(), np.integer) and slope != 1
    channels = more[0] if more else 1

    def load(planes: slice) -> np.ndarray:
        start, stop, _ = planes.indices(grid.shape[0])
        check_room(path, image, stop - start, grid.shape[0])
        try:
            # a damaged scale factor overflows; the check for finite values names it
            with np.errstate(all="ignore"):
                return grid.turn(_voxels(image, path, grid, start, stop))
        except DataError:
            raise
        except Exception as error:
            raise _unreadable(path, error) from error

    dtype = image.get_data_dtype()
    return Scan(grid, channels, dtype, load, abs(slope) if scaled else 0.0, source=image)


@register_writer(".nii", ".nii.gz")
def write_nifti(
    path: Path, mask_DHW: np.ndarray, grid: Grid, files: tuple[Path, ...], names: tuple[str, ...]
) -> None:
    """Write class numbers as uint8 on the file's own axes; units of a NIfTI scan are kept."""
    _write(path, mask_DHW.astype(np.uint8, copy=False), grid, files)


def write_probabilities(
    path: Path, scores_KDHW: np.ndarray, grid: Grid, files: tuple[Path, ...]
) -> None:
    """Write float32 on the voxels that `write_nifti` has, with classes along a fourth axis."""
    _write(path, scores_KDHW.astype(np.float32, copy=False), grid, files)


def _write(path: Path, x: np.ndarray, grid: Grid, files: tuple[Path, ...]) -> None:
    nib = require("nibabel", extra="volume")
    source = open_nifti(files[0], None).source if files and _is_single(files[0]) else None
    if isinstance(source, nib.Nifti1Image):
        header = source.header.copy()
        header.set_data_dtype(x.dtype)
        header["cal_min"] = header["cal_max"] = 0
        image = type(source)(grid.turn_back(x), source.affine, header)
    else:
        image = nib.Nifti1Image(grid.turn_back(x), grid.stored_affine)
        image.header.set_xyzt_units("mm")
    with path.open("wb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


def _is_single(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _is_nifti(file.read(512))


def _open(path: Path) -> Any:
    nib = require("nibabel", extra="volume")
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file; check the path")
    try:
        check_extensions(path)
        # not memory-mapped: the tensors must not change with the file
        image = _misnamed(path) if _is_misnamed(path) else nib.load(path, mmap=False)
    except DataError:
        raise
    # a damaged file fails in whichever line of nibabel reads the damage first
    except Exception as error:
        raise _unreadable(path, error) from error
    if not isinstance(image, nib.AnalyzeImage | nib.MGHImage):
        raise DataError(f"{path} is a {type(image).__name__}, not NIfTI; convert it to .nii.gz")
    return image


def _misnamed(path: Path) -> Any:
    """Open a file by its contents: compressed and called .nii, plain and called .nii.gz, ..."""
    nib = require("nibabel", extra="volume")
    with _stream(path) as stream:
        start = stream.read(4)
        stream.seek(0)
        sizes = (int.from_bytes(start, order) for order in ("little", "big"))
        kind = next((HEADERS[size] for size in sizes if size in HEADERS), None)
        if kind is None:
            raise ValueError("it has no header of NIfTI")
        return getattr(nib, kind).from_stream(stream)


def _stream(path: Path) -> Any:
    return gzip.open(path) if is_packed(path) else path.open("rb")


def _is_misnamed(path: Path) -> bool:
    """Whether nibabel, which goes by the name, would not read the file."""
    if not path.name.lower().endswith(SUFFIXES):
        return True
    return path.suffix in (".nii", ".gz") and is_packed(path) != (path.suffix == ".gz")


def _affine(image: Any, path: Path) -> np.ndarray:
    """The affine in millimetres."""
    if not _places_voxels(image.affine):
        raise DataError(
            f"the affine of {path} does not place its voxels in space (a voxel has no volume); "
            "repair its header or export it again"
        )
    units = getattr(image.header, "get_xyzt_units", None)
    try:
        unit = units()[0] if units else "mm"
    except KeyError:  # a number that is no unit
        unit = "mm"
    affine = image.affine.copy()
    affine[:3] *= millimetres(unit) or 1.0
    return affine


def _places_voxels(affine: np.ndarray) -> bool:
    """Whether the axes of an affine have a length and are not nearly parallel."""
    axes = affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(affine).all() or lengths.min() < 1e-6 or lengths.max() > 1e6:
        return False
    return abs(np.linalg.det(axes / lengths)) > 1e-3


def _unreadable(path: Path, error: Exception) -> DataError:
    why = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"{path} cannot be read as NIfTI ({why}); it is damaged, cut short or of another format: "
        "copy or export it again"
    )


def _voxels(image: Any, path: Path, grid: Grid, start: int, stop: int) -> np.ndarray:
    """Read the planes of D that were asked for, with the file's own axes, and scale them.

    nibabel scales in double precision, so that this is done a few planes at a time.
    """
    (axis,) = np.flatnonzero(grid.orientation[:, 0] == 2)
    if grid.orientation[axis, 1] < 0:
        start, stop = grid.shape[0] - stop, grid.shape[0] - start

    def at(low: int, high: int) -> tuple[slice, ...]:
        return *[slice(None)] * axis, slice(low, high)

    if not is_packed(path) and not _is_misnamed(path):
        voxels = image.dataobj
    elif not hasattr(type(image), "from_stream"):  # .mgz
        return np.asanyarray(image.dataobj)[at(start, stop)]
    else:
        with _stream(path) as stream:
            voxels = _Stored(type(image).from_stream(stream).dataobj)
            if is_packed(path):
                check_end(path, stream)
    few = max(1, SLAB * grid.shape[0] // math.prod(image.shape))
    first = voxels[at(start, min(start + few, stop))]
    # a scaled integer of 16 bits is as exact in single precision as its file
    single = first.dtype == np.float64 and image.get_data_dtype().itemsize <= 2
    shape = list(image.shape)
    shape[axis] = stop - start
    found = np.empty(shape, np.float32 if single else first.dtype, "F")
    for low in range(start, stop, few):
        high = min(low + few, stop)
        found[at(low - start, high - start)] = first if low == start else voxels[at(low, high)]
    return found


class _Stored:
    """Voxels as a compressed file stores them, of which a part is scaled when it is asked for."""

    def __init__(self, proxy: Any):
        self.stored, self.scale = proxy.get_unscaled(), (proxy.slope, proxy.inter)

    def __getitem__(self, part: tuple[slice, ...]) -> np.ndarray:
        scale = require("nibabel.volumeutils", extra="volume").apply_read_scaling
        slope, inter = map(np.float64, self.scale)
        return np.asanyarray(scale(self.stored[part], slope, inter))
