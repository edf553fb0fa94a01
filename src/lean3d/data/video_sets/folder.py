"""A folder with a folder of videos for each class, or one such folder for each part."""

from collections import Counter
from pathlib import Path

from lean3d.data.hidden import visible
from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import walk
from lean3d.data.video_sets.registry import video_set
from lean3d.errors import DataError

__all__ = ["folder"]

# names of the parts, as they are found
PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@video_set("folder", what="a folder of videos for each class, in parts (train, val, test) or whole")
def folder(root: Path, split: int = 1) -> Listing:
    """Classes are the folders of videos in the order of their names."""
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give one with a folder of videos a class")
    parts = {
        PARTS[path.name.lower()]: path
        for path in visible(root)
        if path.is_dir() and path.name.lower() in PARTS
    }
    parts = parts if "train" in parts else {"all": root}
    classes = sorted({p.name for part in parts.values() for p in visible(part) if p.is_dir()})
    found: dict[str, list[Recording]] = {}
    left: list[Path] = []
    for name, part in parts.items():
        found[name] = []
        for number, label in enumerate(classes):
            if (part / label).is_dir():
                videos, others = walk(part / label)
                found[name] += [Recording(video, (number,)) for video in videos]
                left += others
    return Listing(str(root), tuple(classes), found, tuple(_left_out(root, left)))


def _left_out(root: Path, left: list[Path]) -> list[str]:
    if not left:
        return []
    kinds = Counter(path.suffix.lower() or "no suffix" for path in left)
    said = ", ".join(f"{num} {kind}" for kind, num in kinds.most_common(5))
    return [f"{len(left)} file(s) in {root} are no videos and left out: {said}"]
