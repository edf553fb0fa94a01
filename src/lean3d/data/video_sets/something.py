"""Something-Something: Goyal et al., arXiv:1706.04261; v1 has frames, v2 WebM files."""

import re
from pathlib import Path

from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import (
    Labels,
    by_stem,
    find_file,
    found_in,
    read_json,
    read_lines,
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
    labels, there = Labels(read_lines(path), path), by_stem(root)
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
    labels, there = Labels(sorted(found, key=lambda name: int(found[name])), path), by_stem(root)
    parts: dict[str, list[Recording]] = {}
    left: list[str] = []
    for part, word in FILES.items():
        entries = read_json(find_file(root, f"**/*{word}.json"))
        listed = [(str(e["id"]), Recording(root, (labels[_template(e)],))) for e in entries]
        parts[part], absent = found_in(listed, there)
        left += says_absent(absent, part)
    return Listing(f"ssv2:{root}", labels.names, parts, tuple(left))


def _template(entry: dict[str, str]) -> str:
    return re.sub(r"[\[\]]", "", entry.get("template", ""))
