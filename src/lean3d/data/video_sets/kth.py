"""KTH: Schuldt et al., ICPR 2004: six actions of 25 persons, in grey."""

import re
from pathlib import Path

from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import by_stem, read_lines
from lean3d.data.video_sets.registry import video_set
from lean3d.errors import DataError

__all__ = ["kth"]

CLASSES = "boxing", "handclapping", "handwaving", "jogging", "running", "walking"
# of the data set's own page
PERSONS = {
    "train": {11, 12, 13, 14, 15, 16, 17, 18},
    "val": {19, 20, 21, 23, 24, 25, 1, 4},
    "test": {22, 2, 3, 5, 6, 7, 8, 9, 10},
}
NAME = re.compile(r"person(\d+)_([a-z]+)_d(\d)")
RANGE = re.compile(r"(\d+)-(\d+)")


@video_set("kth", what="KTH: person01_boxing_d1_uncomp.avi, 00sequences.txt (optional)")
def kth(root: Path, split: int = 1) -> Listing:
    """With 00sequences.txt every stretch of frames is a recording, otherwise every video is one."""
    lists = sorted(root.glob("**/00sequences.txt"))
    ranges = _ranges(lists[0]) if lists else {}
    parts: dict[str, list[Recording]] = {part: [] for part in PERSONS}
    for stem, path in sorted(by_stem(root).items()):
        found = NAME.match(stem)
        if found is None or found[2] not in CLASSES:
            continue
        number = int(found[1])
        part = next((part for part, persons in PERSONS.items() if number in persons), None)
        if part is None:
            raise DataError(f"{path} shows person {number}; KTH has 25 persons")
        label = CLASSES.index(found[2])
        stretches = ranges.get(found[0], [None])
        parts[part] += [Recording(path, (label,), frames=frames) for frames in stretches]
    return Listing(f"kth:{root}", CLASSES, parts)


def _ranges(path: Path) -> dict[str, list[tuple[int, int] | None]]:
    """Return frames counted from 0, without the last, by the name of a video.

    A line is "person01_boxing_d1 frames 1-95, 96-185, 186-245, 246-360".
    """
    found: dict[str, list[tuple[int, int] | None]] = {}
    for line in read_lines(path):
        if name := NAME.match(line):
            pairs = RANGE.findall(line[name.end() :])
            found[name[0]] = [(int(a) - 1, int(b)) for a, b in pairs] or [None]
    return found
