"""Arrays that tensorstore opens, whose axes are x, y, z in this order unless they are named.

Axes: C channels, D depth (z), H height (y), W width (x).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.arrays import array_scan
from lean3d.data.formats.lengths import millimetres
from lean3d.data.formats.registry import Scan
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["open_store", "store_scan"]

CHANNELS = "c", "channel", "channels"


def open_store(path: Path, driver: str, more: Mapping[str, Any]) -> Any:
    """Open an array of a folder for reading.

    Args:
        more: Members of tensorstore's specification, such as scale_index.

    Raises:
        DataError: it cannot be opened.
    """
    tensorstore = require("tensorstore", extra="neurons")
    kvstore = {"driver": "file", "path": f"{path.absolute()}/"}
    try:
        spec = {"driver": driver, "kvstore": kvstore, **more}
        return tensorstore.open(spec, open=True, read=True).result()
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error


def store_scan(
    path: Path,
    store: Any,
    spacing_mm: Sequence[float] | None,
    first: tuple[int, int, int] | None = None,
) -> Scan:
    """Return the scan of an open array.

    Args:
        spacing_mm: Along D, H, W, if the array has no units of length itself.
        first: As `Scan` has it.
    """
    labels = [str(label) for label in store.domain.labels]
    order = _order(labels)
    # the first voxel of neuroglancer's volumes may be at any place
    turned = store.translate_to[0].transpose(order)

    def read(part: tuple[slice, ...]) -> np.ndarray:
        try:
            return np.asarray(turned[part].read().result())
        except (ValueError, OSError) as error:
            raise _unreadable(path, error) from error

    channel = next((place for place, a in enumerate(order) if labels[a] in CHANNELS), None)
    sides = _sides([store.dimension_units[axis] for axis in order[-3:]]) or spacing_mm
    dtype = store.dtype.numpy_dtype
    return array_scan(path, turned.shape, dtype, read, sides, channel, first)


def _order(labels: Sequence[str]) -> list[int]:
    """Return the axes as channels, z, y, x."""
    if {"x", "y", "z"} <= set(labels):
        rest = [axis for axis, label in enumerate(labels) if label not in ("x", "y", "z")]
        return [*rest, *(labels.index(label) for label in "zyx")]
    return list(range(len(labels)))[::-1]


def _sides(units: Sequence[Any]) -> list[float] | None:
    """Return millimetres of tensorstore's units, unless one is none of length."""
    known = [unit for unit in units if unit is not None]
    sides = [unit.multiplier * (millimetres(unit.base_unit) or 0.0) for unit in known]
    return sides if len(sides) == len(units) and min(sides) > 0 else None


def _unreadable(path: Path, error: Exception) -> DataError:
    # what follows repeats the specification
    why = str(error).partition(" [")[0].partition("\n")[0]
    return DataError(f"{path} cannot be read ({why[:240]}); check the path, or write it again")
