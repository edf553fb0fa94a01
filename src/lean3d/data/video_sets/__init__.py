"""Published data sets of videos, each in its layout."""

from lean3d.data.video_sets.registry import list_video_sets, load_videos, video_set

__all__ = ["list_video_sets", "load_videos", "video_set"]
