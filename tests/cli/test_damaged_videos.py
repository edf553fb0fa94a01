"""A video damaged in its middle is learnt from, scored and explained, and said to be so once."""

import csv
import re

import pytest

from tests.data.films import film, spoil


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two classes of two videos; one has five packets of zeros."""
    root = tmp_path_factory.mktemp("half_read")
    for name in ("bow", "wave"):
        (root / name).mkdir()
        for place in range(2):
            film(root / name / f"{place}.mp4", 20, encode={"g": "1"})
    spoil(root / "bow" / "0.mp4", 8, 12, content=0)
    return root


def said(err, path):
    """The sentences that name a video."""
    found = [line for line in err.splitlines() if line.startswith("lean3d: ") and str(path) in line]
    assert all(re.search(r"5 packet\(s\) could not be decoded", line) for line in found)
    return len(found)


def test_train_evaluate_and_explain_say_it_once(lean3d, root, tmp_path):
    run, bad = tmp_path / "run", root / "bow" / "0.mp4"
    code, _, err = lean3d(
        *("train", "videos", "--data", root, "--out", run, "--epochs", 2, "--warmup", 0),
        *("--train-samples", 8, "--val-samples", 2, "--size", 16, "--clip", 16, "--batch-size", 4),
        *("--widths", 2, 2, 2, 2, "--accelerator", "cpu", "--workers", 0),
    )
    assert (code, said(err, bad)) == (0, 1)
    code, _, err = lean3d("evaluate", run, "--data", root, "--device", "cpu", "--clips", 3)
    assert (code, said(err, bad)) == (0, 1)
    with (run / "evaluation" / "scores.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    code, _, err = lean3d("explain", run, bad, "--out", tmp_path / "seen.png", "--device", "cpu")
    assert (code, said(err, bad)) == (0, 1)
