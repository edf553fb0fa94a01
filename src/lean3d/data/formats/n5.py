"""Datasets of N5, through tensorstore: `store.n5:path/in/it`."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.arrays import first_of, only, spacing_of
from lean3d.data.formats.lengths import millimetres
from lean3d.data.formats.registry import Scan, register_reader
from lean3d.data.formats.tensor_store import open_store, store_scan
from lean3d.errors import DataError

__all__ = ["open_n5"]

META = "attributes.json"
# folders below a dataset hold its blocks, and a store's datasets are rarely deeper
DEEPEST = 6


def _is_n5(folder: Path) -> bool:
    about = _attributes(folder)
    return "n5" in about or {"dimensions", "blockSize"} <= about.keys()


@register_reader("N5", ".n5", folder=_is_n5, inside=True)
def open_n5(path: Path, inside: str | None = None) -> Scan:
    """Open a dataset: the one named, the only one, or the one called raw, image, volume or data.

    Of several scales (s0, s1, ...) it is the finest. Sizes of voxels are those of `resolution` (x,
    y, z; nanometres without `units`) or `pixelResolution`, of the dataset or the group around it.
    """
    if not path.is_dir():
        raise DataError(f"{path} does not exist or is no folder; check the path")
    start = path / inside if inside else path
    if (start / META).is_file() and not _attributes(start):
        raise DataError(f"{start / META} is no JSON of N5; it is damaged: copy or write it again")
    found = dict(_datasets(start))
    if inside and not found:
        there = ", ".join(name for name, _ in _datasets(path)) or "none"
        raise DataError(f"{path} has no dataset {inside}; there are: {there[:200]}")
    scales = _scales(found)
    folder = (found[scales[0]] if scales else only(start, found.items())).folder
    sides, about = _spacing(folder), _attributes(folder)
    first = first_of(about, sides, reverse=True)
    scan = store_scan(folder, open_store(folder, "n5", {}), sides, first)
    return scan if inside else replace(scan, scales=tuple(_scales(found))[1:])


class _Dataset:
    """A dataset's folder and sizes (z, y, x)."""

    def __init__(self, folder: Path, dimensions: list[int]):
        self.folder, self.shape = folder, tuple(dimensions[::-1])


def _datasets(group: Path, above: str = "", depth: int = 0) -> Iterator[tuple[str, _Dataset]]:
    """Yield every dataset of three axes or more, by its path."""
    about = _attributes(group)
    if "dimensions" in about:
        if len(about["dimensions"]) >= 3:
            yield above.rstrip("/"), _Dataset(group, about["dimensions"])
    elif depth < DEEPEST and group.is_dir():
        for one in sorted(p for p in group.iterdir() if p.is_dir()):
            yield from _datasets(one, f"{above}{one.name}/", depth + 1)


def _scales(found: dict[str, _Dataset]) -> list[str]:
    """Return the scales, the finest first, where all datasets are scales of one."""
    parents = {name.rpartition("/")[0] for name in found}
    numbers = {name: name.rpartition("/")[2] for name in found}
    if len(parents) == 1 and all(s[:1] == "s" and s[1:].isdigit() for s in numbers.values()):
        return sorted(found, key=lambda name: int(numbers[name][1:]))
    return []


def _spacing(folder: Path) -> list[float] | None:
    """Return millimetres (z, y, x): of the dataset, or of its group times the dataset's factors."""
    if (sides := _stated(folder)) is not None:
        return sides
    factors = np.ravel(_attributes(folder).get("downsamplingFactors", ()))
    whole = _stated(folder.parent)
    if whole is None or len(factors) != 3 or factors.dtype.kind not in "iuf":
        return whole
    return (np.array(whole) * factors[::-1]).tolist()


def _stated(folder: Path) -> list[float] | None:
    about = _attributes(folder)
    pixel = about.get("pixelResolution")
    if isinstance(pixel, dict):
        unit = millimetres(pixel.get("unit", "um")) or 0.0
        sides = [unit * float(side) for side in pixel.get("dimensions", ())[::-1]]
        if len(sides) == 3 and min(sides) > 0:
            return sides
    return spacing_of(about, reverse=True)


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / META).read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
