"""What arrays without a position in space share: which axis is the channels, and their spacing.

Axes: C channels, D depth, H height, W width.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.registry import Scan
from lean3d.data.grid import Grid
from lean3d.errors import DataError

__all__ = ["array_scan", "only"]

# names of images, before other data sets of a file
IMAGES = "raw", "image", "volume", "data", "voxel", "voxels", "img", "volumes/raw"


def array_scan(
    path: Path,
    shape: Sequence[int],
    dtype: np.dtype,
    read: Callable[[tuple[slice, ...]], np.ndarray],
    spacing_mm: Sequence[float] | None,
    channel_axis: int | None = None,
) -> Scan:
    """The scan of an array (D, H, W), or of four axes, the shorter end of which is channels.

    Args:
        read: Returns a part of the array, by a slice for each axis.
        channel_axis: Of the channels, if the file says it.
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

    def load(planes: slice) -> np.ndarray:
        part = [slice(None)] * len(shape)
        part[1 if channel_axis == 0 else 0] = planes
        x = np.asarray(read(tuple(part)))
        return x[None] if channel_axis is None else np.moveaxis(x, channel_axis, 0)

    return Scan(grid, 1 if channel_axis is None else shape[channel_axis], dtype, load)


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
