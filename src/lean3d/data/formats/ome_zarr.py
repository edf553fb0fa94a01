"""Zarr 2 and 3, and OME-Zarr with its scales, through zarr: `store.zarr:path/in/it`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.arrays import array_scan, first_of, only, spacing_of
from lean3d.data.formats.ome_scales import OmeScale, coarser, ome_scale
from lean3d.data.formats.registry import Scan, register_reader, register_writer
from lean3d.data.grid import Grid
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["open_zarr", "write_zarr"]

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
            there = ", ".join(name for name, _ in _arrays(whole, images=False)) or "none"
            text = f"{path} has no array {inside}; there are: {there[:200]}"
            raise DataError(text) from error
        what = f"{path}:{inside}" if inside else str(path)
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"{what} cannot be read as Zarr ({why}); it is damaged, or no array: copy or write it "
            "again"
        ) from error
    group = isinstance(node, zarr.Group)
    scales = coarser(node.attrs) if group and not inside else ()
    image = _image(node) if group else _named(whole, inside, node)
    found = image or only(path, _arrays(node, images=True))
    array, scale = found.array, found.scale or OmeScale()
    sides = scale.spacing_mm or spacing_of(dict(array.attrs))
    first = scale.first or first_of(dict(array.attrs), sides)
    order, channel = _order(path, array.shape, scale)
    kept = sorted(axis for axis in order if axis is not None)
    turned = [kept.index(axis) for axis in order if axis is not None]
    flat = order.index(None) if None in order else None

    def read(part: tuple[slice, ...]) -> np.ndarray:
        index: list[slice | int] = [0] * array.ndim
        for axis, one in zip(order, part, strict=True):
            if axis is not None:
                index[axis] = one
        x = np.asarray(array[tuple(index)]).transpose(turned)
        return x if flat is None else np.expand_dims(x, flat)[(slice(None),) * flat + (part[flat],)]

    shape = [1 if axis is None else array.shape[axis] for axis in order]
    scan = array_scan(path, shape, np.dtype(array.dtype), read, sides, channel, first)
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


@dataclass(frozen=True)
class _Found:
    """An array, and what the OME-Zarr image that it is a scale of says of it."""

    array: Any
    scale: OmeScale | None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)


def _named(whole: Any, inside: str | None, array: Any) -> _Found:
    """Find the image of an array in the groups around it, the nearest first."""
    parts = [part for part in (inside or "").split("/") if part]
    for depth in range(len(parts))[::-1]:
        group = whole["/".join(parts[:depth])] if depth else whole
        scale = ome_scale(group.attrs, "/".join(parts[depth:]))
        if scale is not None:
            return _Found(array, scale)
    return _Found(array, None)


def _image(group: Any) -> _Found | None:
    """Return the finest scale of the image that a group is, if it is one."""
    scale = ome_scale(group.attrs)
    return None if scale is None else _Found(group[scale.path], scale)


def _arrays(group: Any, *, images: bool, above: str = "") -> Iterator[tuple[str, _Found]]:
    """Yield the arrays of three axes or more by their path.

    Args:
        images: An image is one array, its finest.
    """
    for name, one in sorted(group.members()):
        path = above + name
        if not hasattr(one, "members"):
            if one.ndim >= 3:
                yield path, _Found(one, None)
        elif images and (image := _image(one)) is not None:
            yield path, image
        else:
            yield from _arrays(one, images=images, above=f"{path}/")


def _order(
    path: Path, shape: Sequence[int], scale: OmeScale
) -> tuple[list[int | None], int | None]:
    """Return the axes of an array that are channels, if any, then D, H, W; and that of channels.

    Of an image without sections depth is no axis, None, or time.
    """
    names = scale.axes if len(scale.axes) == len(shape) else ()
    order: list[int | None]
    if {"y", "x"} <= set(names):
        steps = [axis for axis in ("z", "t") if axis in names and shape[names.index(axis)] > 1]
        depth = next((axis for axis in ("z", *steps) if axis in names), None)
        order = [names.index("c")] if "c" in names else []
        order += [None if depth is None else names.index(depth), names.index("y"), names.index("x")]
        channel = 0 if "c" in names else None
    else:
        # without names time, of length 1, is in front
        lead = len(shape) - 4 if len(shape) > 4 else 0
        order, channel = list(range(lead, len(shape))), None
    if any(size != 1 for axis, size in enumerate(shape) if axis not in order):
        raise DataError(
            f"{path} has {len(shape)} axes ({' x '.join(map(str, shape))}); save one time point"
        )
    return order, channel
