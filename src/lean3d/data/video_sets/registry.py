"""Data sets of videos by the names of their published layouts: NAME:DIR.

A layout is a function under `@video_set(NAME, what=...)` in a file of its own, here or in another
package, see `lean3d.plugins`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lean3d.data.listing import Listing
from lean3d.data.named import Layouts
from lean3d.errors import DataError

__all__ = ["VideoSet", "list_video_sets", "load_videos", "video_set"]

Reader = Callable[[Path, int], Listing]


@dataclass(frozen=True)
class VideoSet:
    """A published layout.

    Args:
        what: Origin and layout, for people.
        read: Folder and number of the split -> recordings.
        splits: Number of its published splits.
    """

    what: str
    read: Reader
    splits: int = 1


_SETS: Layouts[VideoSet] = Layouts(
    "video data set",
    "lean3d.data.video_sets",
    plain="folder",
    expected="a folder with a folder of videos for each class",
)


def video_set(*names: str, what: str, splits: int = 1) -> Callable[[Reader], Reader]:
    """Decorate the reader of a layout: `--data NAME:DIR` then finds it by its names."""

    def register(read: Reader) -> Reader:
        for name in names:
            _SETS.add(name, VideoSet(what, read, splits))
        return read

    return register


def list_video_sets() -> dict[str, str]:
    """Return every layout's name with its one-line description."""
    return {name: found.what for name, found in _SETS.items()}


def load_videos(data: str, split: int = 1) -> Listing:
    """Return the recordings of NAME:DIR, or of a folder with a folder of videos for each class.

    Args:
        split: Which of the published splits, from 1.

    Raises:
        DataError: no such layout, folder or list file; a label in no list of classes; an empty
            class.
    """
    name, found, root = _SETS.locate(data)
    if not 1 <= split <= found.splits:
        raise DataError(f"{name} has {found.splits} split(s), got split {split}")
    folder = root if root.is_dir() else root.parent
    return replace(found.read(root, split), folder=folder).check()
