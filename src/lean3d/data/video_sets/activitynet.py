"""ActivityNet: Caba Heilbron et al., CVPR 2015: labelled stretches of long videos."""

from pathlib import Path

from lean3d.data.listing import Listing, Recording
from lean3d.data.video_sets.files import Labels, by_stem, find_file, read_json, says_absent
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
    names = {a["label"] for video in videos.values() for a in video.get("annotations", ())}
    labels, there = Labels(sorted(names), path), by_stem(root)
    parts: dict[str, list[Recording]] = {"train": [], "val": []}
    absent: dict[str, list[str]] = {"train": [], "val": []}
    for name, video in videos.items():
        part = PARTS.get(video.get("subset", ""))
        if part not in parts or not video.get("annotations"):
            continue
        file = there.get(f"v_{name}") or there.get(name)
        if file is None:
            absent[part].append(name)
            continue
        for one in video["annotations"]:
            start, end = map(float, one["segment"])
            parts[part].append(Recording(file, (labels[one["label"]],), (start, end)))
    left = [s for part, own in absent.items() for s in says_absent(own, part)]
    return Listing(f"activitynet:{root}", labels.names, parts, tuple(left))
