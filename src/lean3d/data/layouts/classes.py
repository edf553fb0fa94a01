"""Scans in one folder for each class."""

from pathlib import Path

from lean3d.data.formats.registry import is_scan, stem
from lean3d.data.layouts.registry import Found, Item, register_layout
from lean3d.errors import DataError

__all__ = ["classes"]


@register_layout
def classes(folder: Path) -> Found:
    """One folder for each class, DIR/CLASS/scan, for classification"""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    items: list[Item] = []
    for number, name in enumerate(names):
        scans = sorted(path for path in (folder / name).iterdir() if is_scan(path))
        if not scans:
            raise DataError(f"{folder / name} holds no scan; a folder of {folder} is a class")
        items += [Item(f"{name}_{stem(scan)}", scan, target=(number,)) for scan in scans]
    if len(names) < 2:
        raise DataError(f"{folder} has {len(names)} folder(s) of a class; give two or more")
    return Found(tuple(items), tuple(names))
