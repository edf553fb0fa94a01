"""HMDB51: Kuehne et al., ICCV 2011, with testTrainMulti_7030_splits."""

from pathlib import Path

from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import by_stem, find_file, found_in, read_lines, says_absent
from lean3d.data.video_sets.registry import video_set
from lean3d.errors import DataError

__all__ = ["hmdb51"]

PARTS = {"1": "train", "2": "test"}


@video_set("hmdb51", what="HMDB51: CLASS/*.avi, CLASS_test_split1.txt (70 / 30)", splits=3)
def hmdb51(root: Path, split: int = 1) -> Listing:
    """Of each class 70 videos train and 30 test; those marked 0 are in neither part."""
    end = f"_test_split{split}.txt"
    first = find_file(root, f"**/*{end}")
    files = sorted(first.parent.glob(f"*{end}"))
    there = by_stem(root)
    listed: dict[str, list[tuple[str, Recording]]] = {"train": [], "test": []}
    for number, file in enumerate(files):
        for line in read_lines(file):
            *name, mark = line.rsplit(maxsplit=1)
            if mark not in ("0", "1", "2") or not name:
                raise DataError(f"{file}: a line is VIDEO.avi and 0, 1 or 2, got {line!r}")
            if mark in PARTS:
                video = Path(name[0]).stem
                listed[PARTS[mark]].append((video, Recording(Path(video), (number,))))
    parts: dict[str, list[Recording]] = {}
    left: list[str] = []
    for part, some in listed.items():
        parts[part], absent = found_in(some, there)
        left += says_absent(absent, part)
    classes = tuple(file.name.removesuffix(end) for file in files)
    return Listing(f"hmdb51:{root}", classes, parts, tuple(left))
