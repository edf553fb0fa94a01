"""A folder with a folder of videos for each person, whole or in parts."""

from pathlib import Path

from lean3d.data.hidden import visible
from lean3d.data.people_sets.registry import people_set
from lean3d.data.stills import list_images
from lean3d.data.tracklets import People, Tracklet
from lean3d.data.video_sets.files import walk
from lean3d.errors import DataError

__all__ = ["people"]

PARTS = {"train": "train", "val": "val", "test": "gallery", "query": "query", "gallery": "gallery"}


@people_set(
    "people",
    what="a folder of videos, or of folders of images, for each person; whole, or in train, val, "
    "test, or in train, query, gallery",
)
def people(root: Path) -> People:
    """In a part test, every video is searched for among the others.

    VoxCeleb2 is so: `id00012/21Uxsk56VDQ/00001.mp4`.
    """
    parts = {PARTS[p.name.lower()]: p for p in visible(root) if _is_part(p)}
    if not parts:
        return People(f"people:{root}", _of_part(root, root))
    found = {part: _of_part(folder, root) for part, folder in parts.items()}
    queries, gallery = found.get("query", []), found.get("gallery", [])
    if queries and not gallery:
        raise DataError(f"{root} has a folder query and no gallery; add it")
    return People(
        f"people:{root}",
        found.get("train", []),
        found.get("val", []),
        queries + gallery,
        list(range(len(queries or gallery))),
    )


def _is_part(path: Path) -> bool:
    return path.is_dir() and path.name.lower() in PARTS


def _of_part(folder: Path, root: Path) -> list[Tracklet]:
    found = []
    for person in visible(folder):
        if not person.is_dir():
            continue
        videos = [person] if list_images(person) else walk(person)[0]
        for video in videos:
            images = tuple(p.name for p in list_images(video)) if video.is_dir() else ()
            name = str(video.relative_to(root))
            found.append(Tracklet(name, person.name, video, None, images))
    return found
