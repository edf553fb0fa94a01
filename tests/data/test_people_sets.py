"""Each layout of persons on a small drawn copy, and each contradiction of its lists."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from lean3d.data import list_people_sets, load_people
from lean3d.data.tracklets import read_tracklet
from lean3d.errors import DataError
from tests.data.walkers import mars, people, youtube_faces


def test_every_layout_has_a_test_here_and_a_line_in_the_docs():
    here = Path(__file__)
    docs = (here.parents[2] / "docs" / "identity.md").read_text()
    for name in list_people_sets():
        assert f'"{name}:' in here.read_text()
        assert f"`{name}:" in docs


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("mars")
    mars(root, frames=3)
    return root


def test_mars(drawn):
    found = load_people(f"mars:{drawn}")
    assert len(found.train) == 4 * 3
    assert {t.person for t in found.train} == {"0001", "0002", "0003", "0004"}
    # three persons by three cameras, one junk, two distractors
    assert [t.person for t in found.gallery[-3:]] == ["-1", "0000", "0000"]
    assert len(found.gallery) == 12
    assert [found.gallery[q].person for q in found.queries] == ["0005", "0006", "0007"]
    assert {found.gallery[q].camera for q in found.queries} == {0}
    first = found.train[1]
    assert first.images == tuple(f"0001C2T0001F00{t}.jpg" for t in (1, 2, 3))
    assert (first.path, first.camera) == (drawn / "bbox_train" / "0001", 1)
    assert read_tracklet(first, [2, 0], {})[1].shape == (64, 32, 3)
    assert len({t.name for t in found.every}) == len(found.every)


def changed(root, file, change):
    """Change the one matrix of a file, and return a function that restores it."""
    path = root / "info" / file
    before = path.read_bytes()
    key, matrix = next((k, v) for k, v in scipy.io.loadmat(path).items() if k[0] != "_")
    scipy.io.savemat(path, {key: change(matrix.copy())})
    return lambda: path.write_bytes(before)


def put(matrix, row, column, value):
    matrix[row, column] = value
    return matrix


WRONG = {
    "a range outside of the list": (
        "tracks_test_info.mat",
        lambda m: put(m, 2, 1, 999),
        "row 3 has",
    ),
    "a range that ends before it begins": (
        "tracks_train_info.mat",
        lambda m: put(m, 1, 0, 9),
        "row 2",
    ),
    "another person than the images": (
        "tracks_train_info.mat",
        lambda m: put(m, 0, 2, 2),
        "person 0002",
    ),
    "another camera than the images": (
        "tracks_test_info.mat",
        lambda m: put(m, 0, 3, 5),
        "camera 5",
    ),
    "a query that is no row": ("query_IDX.mat", lambda m: put(m, 0, 0, 13), "query 13 is no row"),
    "a query from 0": ("query_IDX.mat", lambda m: put(m, 0, 0, 0), "query 0 is no row"),
    "a query that is junk": ("query_IDX.mat", lambda m: put(m, 0, 0, 10), "which is no person"),
    "a query listed twice": ("query_IDX.mat", lambda m: put(m, 0, 1, m[0, 0]), "a query twice"),
    "three columns": ("tracks_test_info.mat", lambda m: m[:, :3], "got a matrix of 12 x 3"),
    "no whole numbers": ("query_IDX.mat", lambda m: m + 0.5, "whole numbers"),
}


@pytest.mark.parametrize("what", WRONG)
def test_lists_of_mars_that_contradict_each_other(drawn, what):
    file, change, words = WRONG[what]
    restore = changed(drawn, file, change)
    try:
        with pytest.raises(DataError, match=words) as caught:
            load_people(f"mars:{drawn}")
        assert len(str(caught.value)) <= 400
    finally:
        restore()


@pytest.mark.parametrize(
    "name",
    [
        "info/query_IDX.mat",
        "info/train_name.txt",
        "bbox_test",
        "bbox_train/0002/0002C1T0001F002.jpg",
    ],
)
def test_what_is_missing_is_named(drawn, name):
    path = drawn / name
    path.rename(drawn / "away")
    try:
        with pytest.raises(DataError, match=path.name):
            load_people(f"mars:{drawn}")
    finally:
        (drawn / "away").rename(path)


def test_a_damaged_matlab_file_is_named(drawn):
    path = drawn / "info" / "query_IDX.mat"
    before = path.read_bytes()
    for damage in (b"", b"MATLAB 5.0", before[:140]):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=r"query_IDX\.mat"):
            load_people(f"mars:{drawn}")
    scipy.io.savemat(path, {"a": np.ones(1), "b": np.ones(1)})
    with pytest.raises(DataError, match="one matrix of numbers"):
        load_people(f"mars:{drawn}")
    path.write_bytes(before)


def test_youtube_faces(tmp_path):
    youtube_faces(tmp_path, frames=3)
    found = load_people(f"youtube_faces:{tmp_path}")
    assert load_people(f"ytf:{tmp_path}").pairs == found.pairs
    assert sorted({pair.fold for pair in found.pairs}) == list(range(1, 11))
    assert [pair.same for pair in found.pairs] == [True, False] * 10
    for pair in found.pairs:
        one, two = found.gallery[pair.first], found.gallery[pair.second]
        assert (one.person == two.person) == pair.same
    # each of the eight videos once
    assert len(found.gallery) == 8
    assert found.gallery[0].images[0] == "aligned_detect_0.100.jpg"


def test_youtube_faces_with_numbers_of_pairs_and_the_other_folder(tmp_path):
    youtube_faces(tmp_path, frames=1)
    (tmp_path / "aligned_images_DB").rename(tmp_path / "frame_images_DB")
    (tmp_path / "splits.txt").write_text(
        "1, 7, Person_0/0, Person_1/1, 0\n2, 8, Person_0/0, Person_0/1, 1\n"
    )
    pairs = load_people(f"ytf:{tmp_path}").pairs
    assert [(p.fold, p.same) for p in pairs] == [(1, False), (2, True)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1, Person_0/0, Person_1/1, 1", "line 2 says one person"),
        ("1, Person_0/0, Person_0/1, 0", "line 2 says two persons"),
        ("1, Person_0/0, Person_0/1", "line 2 is a fold"),
        ("1, Person_0/0, 1", "line 2 is a fold"),
        ("1, Person_9/0, Person_0/1, 0", "lists Person_9/0"),
        ("", "lists no pair"),
    ],
)
def test_a_line_of_splits_that_is_wrong(tmp_path, line, words):
    youtube_faces(tmp_path, frames=1)
    (tmp_path / "splits.txt").write_text(
        f"split number, first name, second name, is same\n{line}\n"
    )
    with pytest.raises(DataError, match=words):
        load_people(f"youtube_faces:{tmp_path}")


def test_no_splits_and_no_frames(tmp_path):
    with pytest.raises(DataError, match=r"no splits\.txt"):
        load_people(f"ytf:{tmp_path}")
    (tmp_path / "splits.txt").write_text("1, A/0, A/1, 1\n")
    with pytest.raises(DataError, match="aligned_images_DB or frame_images_DB"):
        load_people(f"ytf:{tmp_path}")


def test_a_folder_for_each_person(tmp_path):
    people(tmp_path, persons=range(2), videos=2, frames=2)
    found = load_people(f"people:{tmp_path}")
    assert load_people(str(tmp_path)).train == found.train
    assert [(t.name, t.person) for t in found.train] == [
        (f"person0{p}/c{v}", f"person0{p}") for p in (0, 1) for v in (0, 1)
    ]
    assert {t.camera for t in found.train} == {None}
    assert [t.camera for t in load_people(str(tmp_path), camera=r"/c(\d+)").train] == [0, 1, 0, 1]
    # a person whose images lie in the folder itself is one video
    lone = people(tmp_path / "lone", persons=range(1), videos=1, frames=2) / "person00" / "c0"
    lone.rename(tmp_path / "alone")
    assert "alone" in {t.name for t in load_people(str(tmp_path)).train}


def test_parts_of_a_folder(tmp_path):
    people(tmp_path / "train", persons=range(2), videos=1, frames=1)
    people(tmp_path / "gallery", persons=range(2, 4), videos=2, frames=1)
    people(tmp_path / "query", persons=range(2, 4), videos=1, frames=1)
    found = load_people(str(tmp_path))
    assert [found.gallery[q].name for q in found.queries] == [
        "query/person02/c0",
        "query/person03/c0",
    ]
    assert len(found.gallery) == 6
    (tmp_path / "query").rename(tmp_path / "val")
    found = load_people(str(tmp_path))
    assert len(found.val) == 2
    # all of the gallery are searched for
    assert found.queries == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ("(", "no regular expression"),
        ("c0", "needs one group"),
        ("x([0-9])", "finds nothing in person00/c0"),
    ],
)
def test_a_camera_that_is_not_found(tmp_path, camera, words):
    people(tmp_path, persons=range(1), videos=1, frames=1)
    with pytest.raises(DataError, match=words):
        load_people(str(tmp_path), camera=camera)


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match="no data set of persons called 'mers'"):
        load_people(f"mers:{tmp_path}")
    with pytest.raises(DataError, match="there is no file or folder"):
        load_people(str(tmp_path / "none"))
    with pytest.raises(DataError, match="holds no video of a person"):
        load_people(str(tmp_path))


def test_folders_as_archives_extract(tmp_path):
    mars(tmp_path, frames=1)
    (tmp_path / "MARS-evaluation-master").mkdir()
    (tmp_path / "info").rename(tmp_path / "MARS-evaluation-master" / "info")
    assert len(load_people(f"mars:{tmp_path}").queries) == 3
    (tmp_path / "YouTubeFaces").mkdir()
    youtube_faces(tmp_path / "YouTubeFaces", persons=2, frames=1)
    assert len(load_people(f"ytf:{tmp_path}").pairs) == 20
