"""YouTube Faces: Wolf et al., CVPR 2011: pairs of videos in ten folds.

`splits.txt` has a line for each pair: its fold, the two videos as PERSON/NUMBER and whether they
show one person, with a header, and with the number of the pair in some copies. The frames of a
video lie in `aligned_images_DB/PERSON/NUMBER` or `frame_images_DB/PERSON/NUMBER`.
"""

import csv
from pathlib import Path

from lean3d.data.people_sets.registry import people_set
from lean3d.data.stills import list_images
from lean3d.data.tracklets import Pair, People, Tracklet
from lean3d.data.video_sets.files import find_file, read_lines
from lean3d.errors import DataError

__all__ = ["youtube_faces"]

FOLDERS = "aligned_images_DB", "frame_images_DB"
TRUTHS = {"1": True, "0": False}


@people_set(
    "youtube_faces",
    "ytf",
    what="YouTube Faces: splits.txt, aligned_images_DB/PERSON/0/*.jpg (or frame_images_DB)",
)
def youtube_faces(root: Path) -> People:
    """The gallery has the videos of all pairs, each once."""
    path = find_file(root, "splits.txt", "*/splits.txt")
    places_of = [folder / name for name in FOLDERS for folder in (root, path.parent)]
    images = next((folder for folder in places_of if folder.is_dir()), None)
    if images is None:
        raise DataError(f"there is no {' or '.join(FOLDERS)} in {root}; extract the frames there")
    places: dict[str, int] = {}
    gallery: list[Tracklet] = []
    pairs: list[Pair] = []
    for number, line in enumerate(csv.reader(read_lines(path)), 1):
        cells = [cell.strip() for cell in line]
        if number == 1 and not cells[0].isdecimal():
            continue  # the header
        fold, videos, same = _pair(cells, path, number)
        for video in videos:
            if video not in places:
                places[video] = len(gallery)
                gallery.append(_video(images, video, path))
        first, second = (places[video] for video in videos)
        if same != (gallery[first].person == gallery[second].person):
            raise DataError(
                f"{path}: line {number} says {'one person' if same else 'two persons'} of "
                f"{videos[0]} and {videos[1]}; the file is damaged: copy it again"
            )
        pairs.append(Pair(first, second, same, fold))
    if not pairs:
        raise DataError(f"{path} lists no pair")
    return People(f"youtube_faces:{root}", gallery=gallery, pairs=pairs)


def _pair(cells: list[str], path: Path, number: int) -> tuple[int, list[str], bool]:
    named = [place for place, cell in enumerate(cells) if "/" in cell]
    truth = cells[named[-1] + 1] if named and named[-1] + 1 < len(cells) else ""
    if len(named) != 2 or not cells[0].isdecimal() or truth not in TRUTHS:
        raise DataError(
            f"{path}: line {number} is a fold, two videos as PERSON/NUMBER and 1 or 0, got "
            f"{', '.join(cells)[:80]!r}"
        )
    return int(cells[0]), [cells[place] for place in named], TRUTHS[truth]


def _video(images: Path, name: str, path: Path) -> Tracklet:
    folder = images / name
    frames = tuple(p.name for p in list_images(folder)) if folder.is_dir() else ()
    if not frames:
        raise DataError(f"{path} lists {name}, and {folder} holds no frame; extract it again")
    return Tracklet(name, name.partition("/")[0], folder, None, frames)
