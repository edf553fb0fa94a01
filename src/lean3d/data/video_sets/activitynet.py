"""ActivityNet: Caba Heilbron et al., CVPR 2015: labelled stretches of long videos."""

from pathlib import Path
from typing import Any

from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import (
    Labels,
    by_stem,
    field,
    find_file,
    read_json,
    read_time,
    says_absent,
)
from lean3d.data.video_sets.registry import video_set
from lean3d.errors import DataError

__all__ = ["activitynet"]

PARTS = {"training": "train", "validation": "val", "testing": "test"}


@video_set("activitynet", what="ActivityNet: activity_net.v1-3.min.json, v_ID.mp4 or ID.mp4")
def activitynet(root: Path, split: int = 1) -> Listing:
    """Every labelled segment of a video is a recording; the test part has no labels."""
    path = find_file(root, "**/activity_net*.json", "**/*.json")
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("database"), dict):
        raise DataError(f"{path} has no database of videos; give ActivityNet's own file")
    videos = found["database"]
    labelled = {name: _segments(path, video) for name, video in videos.items()}
    names = {label for own in labelled.values() for label, _ in own}
    labels, there = Labels(sorted(names), path), by_stem(root)
    parts: dict[str, list[Recording]] = {"train": [], "val": []}
    absent: dict[str, list[str]] = {"train": [], "val": []}
    for name, video in videos.items():
        part = PARTS.get(str(video.get("subset")))
        if part not in parts or not labelled[name]:
            continue
        file = there.get(f"v_{name}") or there.get(name)
        if file is None:
            absent[part].append(name)
            continue
        for label, seconds in labelled[name]:
            parts[part].append(Recording(file, (labels[label],), seconds))
    left = [s for part, own in absent.items() for s in says_absent(own, part)]
    return Listing(f"activitynet:{root}", labels.names, parts, tuple(left))


def _segments(path: Path, video: Any) -> list[tuple[str, tuple[float, float]]]:
    """Return the labels of a video with the seconds that each is for."""
    if isinstance(video, dict) and video.get("annotations") is None:
        return []
    found = []
    for one in field(path, video, "annotations", list):
        label, times = field(path, one, "label", str), field(path, one, "segment", list)
        if len(times) != 2:
            raise DataError(f"{path}: a segment of {label!r} is two times, got {times}")
        start, end = sorted(read_time(time, f"{label!r} in {path}") for time in times)
        found.append((label, (start, end)))
    return found
