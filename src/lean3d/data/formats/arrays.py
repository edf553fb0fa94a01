"""What arrays without a position in space share: which axis is the channels, and their spacing.

Axes: C channels, D depth, H height, W width.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.registry import Scan, Window
from lean3d.data.grid import Grid
from lean3d.errors import DataError

__all__ = ["array_scan", "first_of", "only", "spacing_of"]

# attribute -> millimetres in its unit: of CREMI and its relatives, and of ilastik and Fiji
SPACINGS = {"resolution": 1e-6, "voxel_size": 1e-6, "element_size_um": 1e-3, "spacing_mm": 1.0}
# names of images, before other data sets of a file
IMAGES = "raw", "image", "volume", "data", "voxel", "voxels", "img", "volumes/raw"


def array_scan(
    path: Path,
    shape: Sequence[int],
    dtype: np.dtype,
    read: Callable[[tuple[slice, ...]], np.ndarray],
    spacing_mm: Sequence[float] | None,
    channel_axis: int | None = None,
    first: tuple[int, int, int] | None = None,
) -> Scan:
    """The scan of an array (D, H, W), or of four axes, the shorter end of which is channels.

    Args:
        read: Returns a part of the array, by a slice for each axis.
        channel_axis: Of the channels, if the file says it.
        first: As `Scan` has it.
    """
    sizes = " x ".join(map(str, shape))
    if len(shape) not in (3, 4) or 0 in shape:
        raise DataError(
            f"{path} has {len(shape)} axes ({sizes}), not 3 (D, H, W), or 4 with channels; give "
            "one volume"
        )
    if len(shape) == 3:
        channel_axis = None
    elif channel_axis is None:
        channel_axis = 0 if shape[0] <= shape[-1] else 3
    sides = [size for axis, size in enumerate(shape) if axis != channel_axis]
    grid = Grid.stack(sides, spacing_mm)

    def part(window: Window) -> np.ndarray:
        # within the array, as tensorstore wants them
        slices = [slice(*one.indices(size)) for one, size in zip(window, sides, strict=True)]
        if channel_axis is not None:
            slices.insert(channel_axis, slice(None))
        x = np.asarray(read(tuple(slices)))
        return x[None] if channel_axis is None else np.moveaxis(x, channel_axis, 0)

    def load(planes: slice) -> np.ndarray:
        return part((planes, slice(None), slice(None)))

    channels = 1 if channel_axis is None else shape[channel_axis]
    return Scan(grid, channels, dtype, load, part=part, first=first)


def spacing_of(attributes: Mapping[str, Any], *, reverse: bool = False) -> list[float] | None:
    """Return millimetres along D, H, W if an attribute of a known name says them.

    Args:
        reverse: The sizes are those of W, H, D, as in N5.
    """
    for name, unit in SPACINGS.items():
        if name in attributes:
            sides = np.ravel(attributes[name])
            if len(sides) != 3 or sides.dtype.kind not in "iuf":
                continue
            if ((sides > 0) & np.isfinite(sides)).all():
                return (unit * (sides[::-1] if reverse else sides)).tolist()
    return None


def first_of(
    attributes: Mapping[str, Any], spacing_mm: Sequence[float] | None, *, reverse: bool = False
) -> tuple[int, int, int] | None:
    """Return the place of the first voxel (D, H, W) from an attribute `offset` in nanometres."""
    offset = np.ravel(attributes.get("offset", ()))
    if spacing_mm is None or len(offset) != 3 or offset.dtype.kind not in "iuf":
        return None
    if not np.isfinite(offset).all():
        return None
    places = np.rint(1e-6 * (offset[::-1] if reverse else offset) / np.array(spacing_mm))
    depth, height, width = places.astype(int).tolist()
    return depth, height, width


def only(path: Path, found: Iterable[tuple[str, Any]]) -> Any:
    """Return the only array of a file, or the one that is called an image.

    Raises:
        DataError: it has none, or several; the message lists them.
    """
    arrays = dict(found)
    named = [array for name in IMAGES if (array := arrays.get(name)) is not None]
    if len(arrays) == 1 or named:
        return named[0] if named else next(iter(arrays.values()))
    listed = ", ".join(f"{name} ({' x '.join(map(str, a.shape))})" for name, a in arrays.items())
    if not arrays:
        raise DataError(f"{path} holds no array of three axes or more; give another file")
    raise DataError(
        f"{path} holds {listed[:200]}; say which, such as {path.name}:{next(iter(arrays))}"
    )
