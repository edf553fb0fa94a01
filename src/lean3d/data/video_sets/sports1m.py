"""Sports-1M: Karpathy et al., CVPR 2014: videos of one or several of 487 sports."""

import re
from pathlib import Path

from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import (
    Labels,
    by_stem,
    find_file,
    found_in,
    read_lines,
    says_absent,
)
from lean3d.data.video_sets.registry import video_set
from lean3d.errors import DataError

__all__ = ["sports1m"]

LINE = re.compile(r"\S*?(?:v=|youtu\.be/)?([\w-]{6,})\s+(\d+(?:,\d+)*)$")


@video_set("sports1m", what="Sports-1M: labels.txt, train_partition.txt, ID.mp4")
def sports1m(root: Path, split: int = 1) -> Listing:
    """A line is an address and the numbers of its labels; a clip is trained on one of them."""
    path = find_file(root, "**/labels.txt")
    labels, there = Labels(read_lines(path), path), by_stem(root)
    parts: dict[str, list[Recording]] = {}
    left: list[str] = []
    for part in ("train", "test"):
        file = find_file(root, f"**/{part}_partition.txt")
        listed = []
        for line in read_lines(file):
            found = LINE.match(line)
            if found is None:
                raise DataError(f"{file}: a line is an address and numbers, got {line[:80]!r}")
            numbers = tuple(map(int, found[2].split(",")))
            if max(numbers) >= len(labels.names):
                raise DataError(f"{file}: {path.name} has no class {max(numbers)} (line {line!r})")
            listed.append((found[1], Recording(root, numbers)))
        parts[part], absent = found_in(listed, there)
        left += says_absent(absent, part)
    return Listing(f"sports1m:{root}", labels.names, parts, tuple(left))
