"""Neuroglancer's precomputed volumes, through tensorstore: `folder:scale`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lean3d.data.formats.registry import Scan, register_reader
from lean3d.data.formats.tensor_store import open_store, store_scan
from lean3d.errors import DataError

__all__ = ["open_precomputed"]

META = "info"


def _scales(folder: Path) -> list[str]:
    """Return the keys of a volume's scales, the finest first."""
    try:
        about: Any = json.loads((folder / META).read_text())
        return [str(scale["key"]) for scale in about["scales"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


@register_reader(
    "neuroglancer precomputed", ".precomputed", folder=lambda p: bool(_scales(p)), inside=True
)
def open_precomputed(path: Path, inside: str | None = None) -> Scan:
    """Open a scale: the finest, or the one named by its key, such as `8_8_40`."""
    scales = _scales(path)
    if not scales:
        raise DataError(f"{path} holds no file `info` of a precomputed volume; check the path")
    if inside and inside not in scales:
        raise DataError(f"{path} has no scale {inside}; there are: {', '.join(scales)[:200]}")
    scale = {"scale_index": scales.index(inside) if inside else 0}
    store = open_store(path, "neuroglancer_precomputed", scale)
    width, height, depth = store.domain.inclusive_min[:3]
    scan = store_scan(path, store, None, (depth, height, width))
    return scan if inside else replace(scan, scales=tuple(scales[1:]))
