import re

import pytest

from lean3d.data.folder import find_pairs
from lean3d.errors import DataError


def lay_out(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def relative(folder, pairs):
    def short(path):
        return tuple(map(short, path)) if isinstance(path, tuple) else path.name

    return [(short(image), short(label), name) for image, label, name in pairs]


LAYOUTS = {
    "images and labels": (
        ["images/b.nii.gz", "images/a.nii", "labels/a.nii.gz", "labels/b.nii.gz"],
        [("a.nii", "a.nii.gz", "a"), ("b.nii.gz", "b.nii.gz", "b")],
    ),
    "labels with a suffix of their own": (
        ["images/a.nii.gz", "labels/a_seg.nii.gz"],
        [("a.nii.gz", "a_seg.nii.gz", "a")],
    ),
    "nnU-Net": (
        ["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "imagesTs/z_0000.nii.gz", "dataset.json"],
        [("a_0000.nii.gz", "a.nii.gz", "a")],
    ),
    "nnU-Net with channels": (
        ["imagesTr/a_0001.nii.gz", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"],
        [(("a_0000.nii.gz", "a_0001.nii.gz"), "a.nii.gz", "a")],
    ),
    "Decathlon with the twins macOS leaves": (
        ["imagesTr/a_001.nii.gz", "imagesTr/._a_001.nii.gz", "labelsTr/a_001.nii.gz"],
        [("a_001.nii.gz", "a_001.nii.gz", "a_001")],
    ),
    "side by side": (
        ["a.nii.gz", "a_label.nii.gz", "b.nii", "b_mask.nii", "c.nii.gz", "c_seg.nii.gz"],
        [
            ("a.nii.gz", "a_label.nii.gz", "a"),
            ("b.nii", "b_mask.nii", "b"),
            ("c.nii.gz", "c_seg.nii.gz", "c"),
        ],
    ),
    "a year that looks like a channel": (
        ["images/a_2021.nii.gz", "labels/a_2021.nii.gz"],
        [("a_2021.nii.gz", "a_2021.nii.gz", "a_2021")],
    ),
    "a case named like a mask": (
        ["images/no_mask.nii.gz", "labels/no_mask.nii.gz"],
        [("no_mask.nii.gz", "no_mask.nii.gz", "no_mask")],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_finds_the_pairs_of(layout, tmp_path):
    names, expected = LAYOUTS[layout]
    assert relative(tmp_path, find_pairs(lay_out(tmp_path, *names))) == expected


BROKEN = {
    "holds no image of a known format; expected images/": ["notes.txt"],
    "b.nii.gz has no label": ["images/a.nii.gz", "images/b.nii.gz", "labels/a.nii.gz"],
    "alone.nii.gz has no label": ["alone.nii.gz"],
    "b.nii.gz has no image": ["images/a.nii.gz", "labels/a.nii.gz", "labels/b.nii.gz"],
    "are the same case": ["images/a.nii.gz", "images/a.nii", "labels/a.nii.gz"],
    "channel 0001 of its case": [
        "images/a_0000.nii.gz",
        "images/a_0002.nii.gz",
        "labels/a.nii.gz",
    ],
    "case b has 1 channels where a has 2": [
        "images/a_0000.nii.gz",
        "images/a_0001.nii.gz",
        "images/b_0000.nii.gz",
        "labels/a.nii.gz",
        "labels/b.nii.gz",
    ],
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_refuses_a_folder_and_says_why(sentence, tmp_path):
    with pytest.raises(DataError, match=re.escape(sentence)):
        find_pairs(lay_out(tmp_path, *BROKEN[sentence]))


def test_names_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        find_pairs(tmp_path / "nowhere")
