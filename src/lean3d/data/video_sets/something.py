"""Something-Something: Goyal et al., arXiv:1706.04261; v1 has frames, v2 WebM files."""

import re
from functools import partial
from pathlib import Path
from typing import Any

from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import (
    Labels,
    by_stem,
    field,
    find_file,
    found_in,
    read_json,
    read_names,
    read_rows,
    says_absent,
)
from lean3d.data.video_sets.registry import video_set
from lean3d.errors import DataError

__all__ = ["frames_and_labels", "ssv1", "ssv2"]

FILES = {"train": "train", "val": "validation"}


@video_set("ssv1", what="Something-Something v1: ID/00001.jpg, something-something-v1-train.csv")
def ssv1(root: Path, split: int = 1) -> Listing:
    """Lines are ID;label; the test file has no labels and is not read."""
    return frames_and_labels(root, "something-something-v1", f"ssv1:{root}")


def frames_and_labels(root: Path, stem: str, name: str) -> Listing:
    """Read STEM-labels.csv and STEM-train.csv, the layout that Jester shares."""
    path = find_file(root, f"**/{stem}-labels.csv")
    labels, there = Labels(read_names(path), path), by_stem(root)
    parts: dict[str, list[Recording]] = {}
    left: list[str] = []
    for part, word in FILES.items():
        rows = read_rows(find_file(root, f"**/{stem}-{word}.csv"), ("id", "label"), ";")
        listed = [(row["id"], Recording(root, (labels[row.get("label", "")],))) for row in rows]
        parts[part], absent = found_in(listed, there)
        left += says_absent(absent, part)
    return Listing(name, labels.names, parts, tuple(left))


@video_set("ssv2", what="Something-Something v2: ID.webm, something-something-v2-train.json")
def ssv2(root: Path, split: int = 1) -> Listing:
    """A label is the template of an entry without its brackets; labels.json gives the number."""
    path = find_file(root, "**/*labels.json")
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path} holds numbers by label, got a {type(found).__name__}")
    labels, there = Labels(sorted(found, key=partial(_number, path, found)), path), by_stem(root)
    parts: dict[str, list[Recording]] = {}
    left: list[str] = []
    for part, word in FILES.items():
        file = find_file(root, f"**/*{word}.json")
        entries = read_json(file)
        if not isinstance(entries, list):
            raise DataError(f"{file} holds a list of videos, got a {type(entries).__name__}")
        listed = [
            (str(field(file, e, "id", str | int)), Recording(root, (labels[_template(file, e)],)))
            for e in entries
        ]
        parts[part], absent = found_in(listed, there)
        left += says_absent(absent, part)
    return Listing(f"ssv2:{root}", labels.names, parts, tuple(left))


def _template(path: Path, entry: Any) -> str:
    return re.sub(r"[\[\]]", "", field(path, entry, "template", str))


def _number(path: Path, found: dict[str, Any], name: str) -> int:
    try:
        return int(found[name])
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} gives class {name!r} no number, got {found[name]!r}") from error
