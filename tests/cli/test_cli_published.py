"""Published weights scored by the command line, as they are."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import lean3d as package
from lean3d.checkpoints import load_checkpoint
from lean3d.data import ClipWindow, Look

SIZE = ["--widths", 4, 4, 4, 4, "--options", "pool1=false", "--device", "cpu"]
COLOURS = dict(mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(0)
    for label in ("bow", "wave"):
        for number in range(2):
            (root / label / str(number)).mkdir(parents=True)
            for t in range(6):
                pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / label / str(number) / f"{t}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in torchvision's format, with two classes."""
    torch.manual_seed(0)
    model = package.create_model("resnet3d_18", num_classes=2, widths=(4,) * 4, pool1=False)
    path = tmp_path_factory.mktemp("weights") / "r3d_18.pt"
    state = model.state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            value.fill_(5)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    torch.save(state, path)
    return path


def slowly(weights, path, clip, size):
    """The mean over two clips of the probabilities of a video of images."""
    model = package.create_model("resnet3d_18", num_classes=2, widths=(4,) * 4, pool1=False)
    load_checkpoint(model, weights)
    look = Look((size, size), **COLOURS)
    frames = [torch.from_numpy(np.array(Image.open(path / f"{t}.png"))) for t in range(6)]
    found = []
    for numbers in ClipWindow(clip).spread(range(6), 2):
        some = [frames[number] for number in numbers]
        found.append(look.apply(some, look.middle((40, 50))))
    with torch.no_grad():
        return model.eval()(torch.stack(found)).softmax(1).mean(0)


def test_published_weights_are_scored_on_all_videos_with_their_own_input(
    lean3d, videos, weights, tmp_path
):
    ask = ["evaluate", "resnet3d_18", "--weights", weights, "--data", videos, *SIZE]
    ask += ["--clips", 2, "--clip", 3, "--size", 16, "--out", tmp_path / "scores"]
    code, out, err = lean3d(*ask)
    assert code == 0, err
    assert "clips of 3 frames, one of 1" in err
    assert "16 x 16, mean (0.43216, " in err
    told = json.loads(out.splitlines()[-1])
    assert told["cases"] == 4
    with (tmp_path / "scores" / "scores.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    right = []
    for label, name in enumerate(("bow", "wave")):
        for number in range(2):
            scores = slowly(weights, videos / name / str(number), 3, 16)
            right.append(int(scores.argmax()) == label)
            assert float(rows[f"{name}__{number}"]["video1"]) == right[-1]
    assert told["summary"][-2]["video1"] == np.mean(right)
    # it goes on where it was, and the run it wrote is one as any other
    code, _, err = lean3d(*ask)
    assert code == 0
    assert err.count("scored before") == 4
    run = tmp_path / "scores" / "run"
    code, out, err = lean3d("evaluate", run, "--data", videos, "--clips", 2, "--device", "cpu")
    assert (code, json.loads(out.splitlines()[-1])["summary"]) == (0, told["summary"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resnet3d_18", "--weights", "FILE"], "give --data"),
        (["resnet3d_18"], "no run folder; a network needs --weights and --data"),
        (["FOLDER", "--weights", "FILE"], "is a run, which has its own network"),
        (["resnet3d_18", "--weights", "FILE", "--data", "THREE"], "no head for the 3 classes"),
        (["resnet3d_18", "--weights", "none.pt", "--data", "DATA"], "none.pt"),
    ],
)
def test_published_weights_that_cannot_be_scored_are_one_sentence(
    refused, videos, weights, tmp_path, words, said
):
    for name in ("bow", "wave", "clap"):
        (tmp_path / "three" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "three" / name).symlink_to(videos / name.replace("clap", "wave"))
    places = {"FILE": weights, "FOLDER": tmp_path, "DATA": videos, "THREE": tmp_path / "three"}
    asked = [places.get(word, word) for word in words]
    size = SIZE if words[0] != "FOLDER" else []
    assert said in refused("evaluate", *asked, *size, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
