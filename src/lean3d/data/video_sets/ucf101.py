"""UCF101: Soomro et al., arXiv:1212.0402, with ucfTrainTestlist."""

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

__all__ = ["ucf101"]

# of a class, behind a video to train on
NUMBER = re.compile(r"\s+\d+$")


@video_set("ucf101", what="UCF101: UCF-101/CLASS/v_*.avi, ucfTrainTestlist/*.txt", splits=3)
def ucf101(root: Path, split: int = 1) -> Listing:
    """The list files give 25 groups of clips of one source; a group is never in both parts."""
    path = find_file(root, "**/classInd.txt")
    names = [line.split(maxsplit=1)[-1] for line in read_lines(path)]
    labels, there = Labels(names, path), by_stem(root)
    parts: dict[str, list[Recording]] = {}
    left: list[str] = []
    for part, name in (("train", "trainlist"), ("test", "testlist")):
        file = find_file(root, f"**/{name}{split:02}.txt")
        listed = []
        for line in read_lines(file):
            # ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
            video = NUMBER.sub("", line)
            if "/" not in video:
                raise DataError(f"{file}: a line is CLASS/VIDEO.avi, got {line!r}")
            label = labels[video.split("/")[0]]
            listed.append((Path(video).stem, Recording(Path(video), (label,))))
        parts[part], absent = found_in(listed, there)
        left += says_absent(absent, part)
    return Listing(f"ucf101:{root}", labels.names, parts, tuple(left))
