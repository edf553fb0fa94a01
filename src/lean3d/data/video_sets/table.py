"""A CSV file of paths and labels, with or without times: path,label[,start,end[,part]]."""

from pathlib import Path

from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import (
    Labels,
    find_file,
    read_names,
    read_rows,
    read_time,
    says_absent,
)
from lean3d.data.video_sets.registry import video_set
from lean3d.errors import DataError, clipped

__all__ = ["table"]

COLUMNS = "path", "label", "start", "end", "part"
PARTS = "train", "val", "test"


@video_set("csv", what="FILE.csv, or DIR with train.csv, val.csv, test.csv: path,label[,start,end]")
def table(root: Path, split: int = 1) -> Listing:
    """Paths are relative to the file. Classes are those of classes.txt beside it, or the labels.

    A column `part` says train, val or test.
    """
    files = {"all": root} if root.is_file() else {}
    if not files:
        files["train"] = find_file(root, "train.csv")
        files |= {part: root / f"{part}.csv" for part in ("val", "test")}
        files = {part: file for part, file in files.items() if file.is_file()}
    rows = {p: read_rows(file, COLUMNS, needed=COLUMNS[:2]) for p, file in files.items()}
    base = next(iter(files.values())).parent
    listed = base / "classes.txt"
    names = {row["label"] for own in rows.values() for row in own}
    in_order = sorted(names, key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n))
    labels = Labels(read_names(listed) if listed.is_file() else in_order, listed)
    parts: dict[str, list[Recording]] = {}
    absent: list[str] = []
    for name, own in rows.items():
        for number, row in enumerate(own, 1):
            if not row["label"]:
                raise DataError(
                    f"{files[name]}: row {number}, {clipped(row['path'], 80)!r}, has no label; "
                    "rows are path,label[,start,end], with commas"
                )
            part = row.get("part", "").lower() or name
            if part not in (*PARTS, "all"):
                raise DataError(f"{files[name]}: a part is train, val or test, got {part!r}")
            path = base / row["path"]
            if path.exists():
                recording = Recording(path, (labels[row["label"]],), _seconds(row))
                parts.setdefault(part, []).append(recording)
            else:
                absent.append(row["path"])
    return Listing(f"csv:{root}", labels.names, parts, tuple(says_absent(absent, str(root))))


def _seconds(row: dict[str, str]) -> tuple[float, float | None] | None:
    start, end = row.get("start"), row.get("end")
    if not start and not end:
        return None
    times = read_time(start or 0, row["path"]), read_time(end, row["path"]) if end else None
    if times[0] < 0 or (times[1] is not None and not times[0] < times[1]):
        raise DataError(f"{row['path']} begins at {times[0]} s and ends at {times[1]} s")
    return times
