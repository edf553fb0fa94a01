"""Kinetics-400, -600 and -700: Kay et al., arXiv:1705.06950; Carreira et al., arXiv:1808.01340."""

from pathlib import Path

from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import (
    Labels,
    by_stem,
    find_file,
    read_rows,
    read_time,
    says_absent,
)
from lean3d.data.video_sets.registry import video_set
from lean3d.errors import DataError

__all__ = ["kinetics"]

FILES = {
    "train": ("**/*train*.csv",),
    "val": ("**/*val*.csv",),
    "test": ("**/*test*.csv",),
}
COLUMNS = "label", "youtube_id", "time_start", "time_end", "split"


@video_set(
    "kinetics400",
    "kinetics600",
    "kinetics700",
    what="Kinetics: train.csv, val.csv, test.csv; ID_000001_000011.mp4 or ID.mp4 in any folder",
)
def kinetics(root: Path, split: int = 1) -> Listing:
    """Videos that are gone from the web are counted; a file named by its ID alone is cut."""
    rows = {"train": read_rows(find_file(root, *FILES["train"]), COLUMNS, needed=COLUMNS[:2])}
    for part in ("val", "test"):
        try:
            file = find_file(root, *FILES[part])
        except DataError:
            continue
        rows[part] = read_rows(file, COLUMNS, needed=COLUMNS[1:2])
    # a test file without labels has nothing to compare with
    rows = {part: own for part, own in rows.items() if own and "label" in own[0]}
    if not rows.get("train"):
        raise DataError(f"{find_file(root, *FILES['train'])} lists no video")
    names = sorted({row["label"] for row in rows["train"]})
    labels, there = Labels(names, "train.csv"), by_stem(root)
    parts: dict[str, list[Recording]] = {}
    left: list[str] = []
    for part, own in rows.items():
        parts[part] = []
        absent: list[str] = []
        for row in own:
            recording = _recording(row, labels, there)
            if recording is None:
                absent.append(row["youtube_id"])
            else:
                parts[part].append(recording)
        left += says_absent(absent, part)
    return Listing(f"kinetics:{root}", labels.names, parts, tuple(left))


def _recording(row: dict[str, str], labels: Labels, there: dict[str, Path]) -> Recording | None:
    name, label = row.get("youtube_id", ""), labels[row["label"]]
    start, end = (read_time(row.get(at) or 0, name) for at in ("time_start", "time_end"))
    cut = f"{name}_{int(start):06}_{int(end):06}"
    if cut in there:
        return Recording(there[cut], (label,))
    if name not in there:
        return None
    whole = there[name]
    return Recording(whole, (label,), (start, end) if end > start else None)
