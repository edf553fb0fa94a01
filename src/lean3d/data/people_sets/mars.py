"""MARS: Zheng et al., ECCV 2016: tracklets of 1261 persons by six cameras.

`bbox_train/0001/0001C1T0001F001.jpg` is frame 1 of tracklet 1 of person 1 by camera 1.
`info/train_name.txt` and `test_name.txt` list the images, and each row of `tracks_train_info.mat`
and `tracks_test_info.mat` is a tracklet: its first and last image in the list, counted from 1, its
person and its camera. `query_IDX.mat` has the rows of the test part that are searched for. Person
-1 (folder 00-1) is junk, neither right nor wrong; person 0 (0000) are distractors, always wrong.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.hidden import visible
from lean3d.data.people_sets.registry import people_set
from lean3d.data.tracklets import People, Tracklet
from lean3d.data.video_sets.files import read_lines
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["mars"]

NAME = re.compile(r"^(\d{4}|00-1)C(\d+)T\d+F\d+\.(jpe?g|png)$")
JUNK = -1


@people_set("mars", what="MARS: bbox_train, bbox_test, info/tracks_train_info.mat, query_IDX.mat")
def mars(root: Path) -> People:
    """The queries are a part of the gallery, as in the data set's own evaluation."""
    info = _found(root, "info")
    train = _part(
        _found(root, "bbox_train"), info / "train_name.txt", info / "tracks_train_info.mat"
    )
    test = _part(_found(root, "bbox_test"), info / "test_name.txt", info / "tracks_test_info.mat")
    odd = next((t for t in train if t.person in ("-1", "0000")), None)
    if odd is not None:
        raise DataError(f"{info / 'tracks_train_info.mat'}: {odd.name} is junk or a distractor")
    shared = {t.person for t in train} & {t.person for t in test}
    if shared:
        raise DataError(
            f"person {min(shared)} is in the training and in the test part of {root}; the lists of "
            "two versions are mixed: copy info again"
        )
    path = info / "query_IDX.mat"
    queries = _matrix(path).ravel().astype(int) - 1
    for place in queries.tolist():
        if not 0 <= place < len(test):
            raise DataError(
                f"{path}: query {place + 1} is no row of tracks_test_info.mat, which has "
                f"{len(test)}; the files are of two versions"
            )
        if test[place].person in ("-1", "0000"):
            raise DataError(f"{path}: query {place + 1} is {test[place].name}, which is no person")
    if len(set(queries.tolist())) != len(queries):
        raise DataError(f"{path} lists a query twice; copy it again")
    return People(f"mars:{root}", train, [], test, queries.tolist())


def _found(root: Path, name: str) -> Path:
    """Return the folder of that name in the root, or in a folder of it, as archives extract."""
    inside = (path / name for path in visible(root) if path.is_dir())
    return next((path for path in (root / name, *inside) if path.is_dir()), root / name)


def _part(images: Path, names: Path, tracks: Path) -> list[Tracklet]:
    if not images.is_dir():
        raise DataError(f"there is no folder {images}; extract the images of MARS there")
    if not names.is_file():
        raise DataError(f"there is no {names}; copy info of MARS-evaluation there")
    listed, rows = read_lines(names), _matrix(tracks)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise DataError(
            f"{tracks} has rows of first image, last image, person and camera, got a matrix of "
            f"{' x '.join(map(str, rows.shape))}"
        )
    there = _images_in(images)
    found = []
    for number, (first, last, person, camera) in enumerate(rows.astype(int).tolist(), 1):
        if not 1 <= first <= last <= len(listed):
            raise DataError(
                f"{tracks}: row {number} has images {first} to {last}, and {names.name} lists "
                f"{len(listed)}; the files are of two versions"
            )
        own = tuple(listed[first - 1 : last])
        folder = "00-1" if person == JUNK else f"{person:04d}"
        for name in own:
            _check_name(name, folder, camera, number, tracks)
            if name not in there.get(folder, ()):
                raise DataError(
                    f"{names} lists {name}, and {images / folder} does not hold it; extract the "
                    "images again"
                )
        stem = own[0].rpartition("F")[0]
        who = "-1" if person == JUNK else folder
        # several rows may begin with the same image number
        name = f"{images.name}/{number:05d}_{stem}"
        found.append(Tracklet(name, who, images / folder, camera - 1, own))
    return found


def _check_name(name: str, folder: str, camera: int, row: int, tracks: Path) -> None:
    hit = NAME.match(name)
    if hit is None:
        raise DataError(f"{name} is no name of an image of MARS, such as 0001C1T0001F001.jpg")
    if (hit[1], int(hit[2])) != (folder, camera):
        raise DataError(
            f"{tracks}: row {row} is of person {folder} and camera {camera}, and its image is "
            f"{name}; the files are of two versions"
        )


def _images_in(folder: Path) -> dict[str, set[str]]:
    return {
        entry.name: set(os.listdir(entry.path)) for entry in os.scandir(folder) if entry.is_dir()
    }


def _matrix(path: Path) -> np.ndarray:
    """Return the one matrix of numbers of a MATLAB file."""
    if not path.is_file():
        raise DataError(f"there is no {path}; copy info of MARS-evaluation there")
    io: Any = require("scipy.io", extra="identity")
    try:
        read = io.loadmat(path)
    except NotImplementedError:
        # HDF5, which scipy does not read
        raise DataError(f"{path} is a MATLAB 7.3 file; save it with -v7") from None
    except Exception as error:  # damaged bytes raise errors of many kinds
        raise DataError(f"cannot read {path}: {error or type(error).__name__}") from error
    found = [value for name, value in read.items() if not name.startswith("__")]
    numbers = [value for value in found if getattr(value, "dtype", None) is not None]
    if len(numbers) != 1 or numbers[0].dtype.kind not in "iuf" or not numbers[0].size:
        raise DataError(f"{path} holds one matrix of numbers, got {', '.join(read) or 'nothing'}")
    matrix = numbers[0]
    if matrix.dtype.kind == "f" and not np.array_equal(matrix, np.round(matrix)):
        raise DataError(f"{path} holds whole numbers, got others")
    return matrix
