"""Scans with classes in a table, for classification."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lean3d.data.formats.registry import is_scan, split, stem
from lean3d.data.layouts.registry import Found, Item, register_layout
from lean3d.data.layouts.tables import read_table
from lean3d.errors import DataError

__all__ = ["csv"]

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@register_layout
def csv(folder: Path) -> Found:
    """Scans and DIR/labels.csv: a column `file`, columns of classes, and `split` if there is one"""
    path = folder if folder.is_file() else folder / "labels.csv"
    rows = read_table(path, "file")
    answers = [name for name in rows[0] if name not in ("file", "split", "")]
    if not answers:
        raise DataError(f"{path} has no column of classes beside file; add one, such as label")
    classes = _classes(path, rows, answers)
    if double := _double(row["file"] for row in rows):
        raise DataError(f"{path} names {double} twice; leave one of the rows out")
    items = _told_apart([_item(path, row, answers, classes) for row in rows], rows)
    if double := _double(item.name for item in items):
        raise DataError(f"{path}: two scans are called {double}; rename one of them")
    return Found(tuple(sorted(items, key=lambda item: item.name)), classes)


def _double(names: Iterable[str]) -> str | None:
    return min((name for name, times in Counter(names).items() if times > 1), default=None)


def _told_apart(items: list[Item], rows: list[dict[str, str]]) -> tuple[Item, ...]:
    """Give scans of one name in several folders the names of these as well."""
    names = Counter(item.name for item in items)
    if max(names.values()) == 1:
        return tuple(items)
    folders = [Path(row["file"]).parent.parts for row in rows]
    return tuple(
        replace(item, name="_".join([*folder, item.name]) if names[item.name] > 1 else item.name)
        for item, folder in zip(items, folders, strict=True)
    )


def _classes(path: Path, rows: list[dict[str, str]], answers: list[str]) -> tuple[str, ...] | None:
    """Names of the classes in order; None if they are the numbers 0, 1, ... or of columns."""
    values = {row[name] for row in rows for name in answers}
    if "" in values:
        raise DataError(f"{path} has an empty class; fill it in, or leave the row out")
    if not all(value.isdecimal() for value in values):
        return tuple(sorted(values))
    numbers = sorted({int(value) for value in values})
    counted = len(answers) > 1 or numbers == list(range(len(numbers)))
    return None if counted else tuple(map(str, numbers))


def _item(
    path: Path, row: dict[str, str], answers: list[str], classes: tuple[str, ...] | None
) -> Item:
    scan = path.parent / row["file"]
    if not split(scan)[0].exists() or not is_scan(split(scan)[0]):
        raise DataError(f"{path} names {row['file']}, which is not there; add it, or correct it")
    values = [str(int(row[n])) if row[n].isdecimal() else row[n] for n in answers]
    target = tuple(
        int(value) if classes is None else classes.index(row[n] if row[n] in classes else value)
        for n, value in zip(answers, values, strict=True)
    )
    part = row.get("split", "").lower()
    if part and part not in PARTS:
        raise DataError(f"{path}: split is train, val or test, got {part!r} for {row['file']}")
    chosen: Any = PARTS.get(part)
    return Item(stem(scan), scan, target=target, split=chosen)
