"""Jester: Materzynska et al., ICCV Workshops 2019: frames of 27 gestures."""

from pathlib import Path

from lean3d.data.listing import Listing
from lean3d.data.video_sets.registry import video_set
from lean3d.data.video_sets.something import frames_and_labels

__all__ = ["jester"]


@video_set("jester", what="Jester: ID/00001.jpg, jester-v1-labels.csv, jester-v1-train.csv")
def jester(root: Path, split: int = 1) -> Listing:
    """Lines are ID;label. Swiping and turning have a direction: mirror none of its clips."""
    return frames_and_labels(root, "jester-v1", f"jester:{root}")
