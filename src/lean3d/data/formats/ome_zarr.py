"""Zarr 2 and 3, and OME-Zarr with its scales, through zarr: `store.zarr:path/in/it`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.arrays import array_scan, first_of, only, spacing_of
from lean3d.data.formats.registry import Scan, register_reader, register_writer
from lean3d.data.grid import Grid
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["open_zarr", "write_zarr"]

# millimetres in a unit of OME-Zarr
UNITS = {"nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "meter": 1e3}
UNITS |= {"angstrom": 1e-7, "nanometers": 1e-6, "micrometers": 1e-3, "um": 1e-3, "nm": 1e-6}
# sides of a chunk of a mask
CHUNK = 64
META = "zarr.json", ".zarray", ".zgroup"


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in META)


@register_reader("Zarr", ".zarr", folder=_is_zarr, inside=True)
def open_zarr(path: Path, inside: str | None = None) -> Scan:
    """Open an array, or a scale of an OME-Zarr image: the finest, or the one named."""
    zarr = require("zarr", extra="volume")
    if not path.exists():
        raise DataError(f"{path} does not exist; check the path")
    try:
        node = zarr.open(path, mode="r")
        whole = node
        if inside:
            node = whole[inside]
    except Exception as error:
        if inside and isinstance(error, KeyError):
            there = ", ".join(name for name, _ in _arrays(whole)) or "none"
            text = f"{path} has no array {inside}; there are: {there[:200]}"
            raise DataError(text) from error
        what = f"{path}:{inside}" if inside else str(path)
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"{what} cannot be read as Zarr ({why}); it is damaged, or no array: copy or write it "
            "again"
        ) from error
    image, sides, channel = None, None, None
    scales: tuple[str, ...] = ()
    if isinstance(node, zarr.Group):
        image, sides, channel = _ome(node, path)
        scales = () if inside else _coarser(node)
    elif inside and "/" not in inside and isinstance(whole, zarr.Group):
        image, sides, channel = _ome(whole, path, inside)
    array = image if image is not None else node
    if isinstance(array, zarr.Group):
        array = only(path, _arrays(array))
    if sides is None:
        sides = spacing_of(dict(array.attrs))
    shape = tuple(array.shape)
    # time, of length 1, and other axes of OME-Zarr in front
    lead = max(0, len(shape) - 3 - (channel is not None))
    if len(shape) == 5 and channel is None:
        lead = 1
    if any(size != 1 for size in shape[:lead]) and len(shape) > 4:
        raise DataError(
            f"{path} has {len(shape)} axes ({' x '.join(map(str, shape))}); save one time point"
        )
    lead = lead if len(shape) > 4 or (channel is not None and shape[0] == 1) else 0

    def read(part: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(array[(0,) * lead + part])

    place = None if channel is None else channel - lead
    first = first_of(dict(array.attrs), sides)
    dtype = np.dtype(array.dtype)
    scan = array_scan(path, shape[lead:], dtype, read, sides, place, first)
    return replace(scan, scales=scales)


@register_writer(".zarr")
def write_zarr(
    path: Path, mask_DHW: np.ndarray, grid: Grid, files: tuple[Path, ...], names: tuple[str, ...]
) -> None:
    """Write class numbers (D, H, W) as uint8, an OME-Zarr image (0.5) with its voxel sizes."""
    zarr = require("zarr", extra="volume")
    # the new file that held the name
    path.unlink(missing_ok=True)
    group = zarr.open_group(path, mode="w")
    array = group.create_array(
        "0",
        shape=mask_DHW.shape,
        chunks=tuple(min(CHUNK, side) for side in mask_DHW.shape),
        dtype="uint8",
    )
    array[...] = mask_DHW
    unit = {"unit": "millimeter"} if grid.known else {}
    sides = np.linalg.norm(grid.affine[:3, :3], axis=0).tolist()
    scale = {"type": "scale", "scale": sides if grid.known else [1.0, 1.0, 1.0]}
    image = {
        "name": "mask",
        "axes": [{"name": axis, "type": "space", **unit} for axis in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    if names:
        group.attrs["classes"] = list(names)


def _ome(
    group: Any, path: Path, level: str | None = None
) -> tuple[Any, list[float] | None, int | None]:
    """The array of a scale, its spacing along D, H, W, and the place of its channels."""
    about = group.attrs.get("ome", group.attrs).get("multiscales")
    if not about:
        return None, None, None
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in about[0].get("axes", ())]
    axes = axes or [{"name": name} for name in "tczyx"]
    names = [str(axis.get("name")) for axis in axes]
    scales = {str(one["path"]): one for one in about[0]["datasets"]}
    one = scales.get(level or next(iter(scales)))
    if one is None:
        return None, None, None
    array = group[one["path"]]
    steps = next(
        (t["scale"] for t in one.get("coordinateTransformations", ()) if "scale" in t), None
    )
    sides = None
    if steps is not None and {"z", "y", "x"} <= set(names):
        units = [UNITS.get(str(axes[names.index(n)].get("unit")), 0.0) for n in "zyx"]
        sides = [steps[names.index(n)] * unit for n, unit in zip("zyx", units, strict=True)]
        sides = sides if min(sides) > 0 else None
    return array, sides, names.index("c") if "c" in names else None


def _coarser(group: Any) -> tuple[str, ...]:
    """Return the paths of all scales but the first, of those that can be named."""
    about = group.attrs.get("ome", group.attrs).get("multiscales")
    paths = [str(one["path"]) for one in about[0]["datasets"]] if about else []
    return tuple(path for path in paths[1:] if "/" not in path)


def _arrays(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, one in sorted(group.members()):
        if hasattr(one, "members"):
            yield from _arrays(one, f"{above}{name}/")
        elif one.ndim >= 3:
            yield above + name, one
