"""lean3d explain: where the network of a run looks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_cases import FLAGS, last_json, save

from lean3d.cli.main import main
from lean3d.data import MOTIONS
from lean3d.errors import RunError
from lean3d.recipes import explained
from tests.data.films import film

image = pytest.importorskip("PIL.Image")
NET = Path(__file__).parent / "explain_net.py"


def trained(*argv):
    assert main(["train", *map(str, argv)]) == 0


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    run = tmp_path_factory.mktemp("clips") / "run"
    small = ["--train-samples", 2, "--val-samples", 2, "--batch-size", 2, "--epochs", 1]
    net = ["--widths", 4, 4, 4, 4, "--options", "window=4", "--clip", 7, "--video", 8]
    trained("digits", *small, *net, "--accelerator", "cpu", "--out", run)
    return run


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    """A run whose network finds class 1 where it is bright."""
    folder = tmp_path_factory.mktemp("segments")
    random = np.random.default_rng(0)
    for case in range(2):
        scan = random.normal(0, 0.1, (16, 18, 20)).astype(np.float32)
        label = np.zeros(scan.shape, np.uint8)
        label[3:7, 10:15, 2:7] = 1
        save(folder / "data" / "images" / f"{case}.nii.gz", scan + 3 * label, np.eye(4))
        save(folder / "data" / "labels" / f"{case}.nii.gz", label, np.eye(4))
    flags = ["--patch", 8, 8, 8, "--model", f"{NET}:BrightNet", "--lr", 0]
    trained("folder", "--data", folder / "data", *FLAGS, *flags, "--out", folder / "run")
    return folder / "run"


@pytest.fixture
def video(tmp_path):
    return film(tmp_path / "film.mp4")


@pytest.mark.parametrize("how", ["gradcam", "features"])
def test_a_video_moves_or_lies_in_a_row(lean3d, clips, video, tmp_path, how):
    import av

    for name in ("out.mp4", "out.gif", "out.png", "out.html"):
        code, out, err = lean3d("explain", clips, video, "--how", how, "--out", tmp_path / name)
        assert code == 0, err
    record = last_json(out)
    assert record["found"] in MOTIONS
    assert record["class"] == (record["found"] if how == "gradcam" else None)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 7
    assert frames[0].shape == (224, 224, 3)
    with image.open(tmp_path / "out.gif") as gif:
        assert gif.n_frames > 1
    page = (tmp_path / "out.html").read_text()
    assert "data:image/png" in page
    assert record["layer"] in page


def test_a_folder_gets_an_image_a_frame(lean3d, clips, video, tmp_path):
    out = tmp_path / "frames"
    assert lean3d("explain", clips, video, "--out", out)[0] == 0
    assert [path.name for path in sorted(out.iterdir())] == [f"{n:04}.png" for n in range(1, 8)]


def test_a_segmented_volume_is_shown_around_the_class(lean3d, segments, tmp_path):
    scan = segments.parent / "data" / "images" / "0.nii.gz"
    out = tmp_path / "slices"
    code, told, err = lean3d("explain", segments, scan, "--out", out, "--class", "1")
    assert code == 0, err
    assert last_json(told)["class"] == "1"
    pictures = [np.asarray(image.open(path)).astype(int) for path in sorted(out.iterdir())]
    assert len(pictures) == 8
    # coloured where the scan is bright, grey elsewhere
    colour = np.stack([np.ptp(picture, axis=2) for picture in pictures])
    assert colour.max() > 60
    lit = np.argwhere(colour > 60).mean(0)
    assert np.all(np.abs(lit - np.array(colour.shape) / 2) < np.array(colour.shape) / 4)


def test_volume_classes(lean3d, tmp_path):
    random = np.random.default_rng(0)
    for case in range(8):
        scan = random.normal(0, 1, (8, 8, 8)).astype(np.float32)
        save(tmp_path / "data" / "ab"[case % 2] / f"v{case}.nii.gz", scan)
    flags = ["--widths", 2, 2, 2, 2, "--batch-size", 4, "--epochs", 1, "--accelerator", "cpu"]
    trained(
        "volume_classes",
        "--data",
        f"classes:{tmp_path / 'data'}",
        *flags,
        "--out",
        tmp_path / "run",
    )
    scan = tmp_path / "data" / "a" / "v0.nii.gz"
    ask = ["--out", tmp_path / "o.png", "--class", "b"]
    code, out, err = lean3d("explain", tmp_path / "run", scan, *ask)
    assert code == 0, err
    assert last_json(out)["class"] == "b"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out", "o.bmp"], "writes .png"),
        (["--out", "o.png", "--class", "flying"], "knows no class 'flying'"),
        (
            ["--out", "o.png", "--layer", "nowhere"],
            "the layer 'nowhere' is not there; the last ones",
        ),
        (["--out", "no/o.png"], "no"),
    ],
)
def test_refusals_write_nothing(refused, clips, video, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert words in refused("explain", clips, video, *flags)
    assert sorted(tmp_path.iterdir()) == before


def test_a_source_is_not_overwritten(refused, clips, video):
    before = video.read_bytes()
    refused("explain", clips, video, "--out", video)
    assert video.read_bytes() == before
    assert json.loads((clips / "recipe.json").read_text())


def test_a_class_without_evidence_is_said(lean3d, clips, video, tmp_path, monkeypatch):
    monkeypatch.setattr(
        explained, "class_attention", lambda net, x, *rest: torch.zeros_like(x[:, 0])
    )
    code, out, _ = lean3d("explain", clips, video, "--out", tmp_path / "o.png")
    assert code == 0
    assert "no voxel is evidence for" in out


def test_a_way_to_explain_that_is_none_is_refused(clips, video):
    with pytest.raises(RunError, match="how is gradcam or features"):
        explained.explain(clips, video, "lime")
