"""Clips made on the device of the model are those of the loading processes, run and all."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from lean3d.cli.main import main
from lean3d.data.look import Look
from lean3d.data.raw_clips import LookOnDevice, RawClip
from lean3d.recipes import get_recipe
from lean3d.recipes.augment_on import placed
from lean3d.recipes.datasets import loaders
from tests.data.films import film

NAMES = "left", "right"
LOOKS = {
    "scales": Look((32, 32), flip=True),
    "corners, a rectangle": Look((24, 40), "corners", flip=True, mean=(0.4, 0.5, 0.6)),
    "larger than the frame": Look((80, 80), "short_side", short_side=(90, 120), flip=True),
    "grey": Look((32, 32), "short_side", short_side=(40, 48), channels=1),
    "published colours": Look((32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)),
    "as it is": Look((48, 64), "middle"),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_the_device_gives_the_clips_of_the_cpu(look):
    draw = np.random.default_rng(0)
    raw, wanted = [], []
    for size in ((48, 64), (64, 48), (50, 70)):
        frames = [torch.from_numpy(draw.integers(0, 256, (*size, 3), np.uint8)) for _ in range(3)]
        for mirrored in (False, True):
            box = look.random(size, draw)
            raw.append(RawClip(look.part(frames, box), mirrored))
            wanted.append(look.apply(frames, box, mirrored))
    found = LookOnDevice(look)(raw)
    assert found.shape == (6, look.channels, 3, *look.size)
    torch.testing.assert_close(found, torch.stack(wanted), rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(NAMES):
        (folder / name).mkdir()
        for video in range(3):
            film(folder / name / f"{video}.mp4", 10, (40 + 8 * video, 64 - 8 * number))
    return folder


def asked(data, **more):
    settings = dict(data=str(data), num_classes=2, class_names=NAMES, size=32, clip=4, flip=True)
    settings |= dict(train_samples=6, val_samples=2, batch_size=3)
    return replace(get_recipe("videos"), **settings | more)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_have_equal_clips_and_labels_in_equal_order(data, workers):
    look = placed(asked(data, augment_on="device"), "cpu", print)[1]
    both = (loaders(asked(data, augment_on=a, workers=workers)) for a in ("device", "loader"))
    for raw, made in zip(*both, strict=True):
        for (clips, label_B), (clip_BCTHW, wanted_B) in zip(raw, made, strict=True):
            assert {clip.part.dtype for clip in clips} == {torch.uint8}
            torch.testing.assert_close(look(clips), clip_BCTHW, rtol=0, atol=2e-5)
            assert torch.equal(label_B, wanted_B)


def test_a_run_has_the_losses_of_one_that_augments_in_its_loaders(data, tmp_path, capsys):
    losses = []
    for place in ("loader", "device"):
        out = tmp_path / place
        words = ["train", "videos", "--data", data, "--augment-on", place, "--out", out]
        words += ["--num-classes", 2, "--class-names", *NAMES, "--size", 32, "--clip", 4]
        words += ["--widths", 4, 4, 8, 8, "--epochs", 1, "--train-samples", 6, "--val-samples", 2]
        words += ["--batch-size", 3, "--lr", 1e-5, "--flip", "--accelerator", "cpu"]
        assert main([str(word) for word in words]) == 0
        with (out / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        losses.append([float(row[name]) for row in rows for name in ("train_loss", "val_loss")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    # the place is no part of the run: it goes on elsewhere
    assert main([*map(str, words), "--resume", "--augment-on", "loader"]) == 0
    capsys.readouterr()


def test_a_gpu_augments_where_there_is_one(data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    recipe, look = placed(asked(data), "auto", print)
    assert recipe.augment_on == "device"
    assert isinstance(look, LookOnDevice)
    assert placed(asked(data), "cpu", print)[1] is None
