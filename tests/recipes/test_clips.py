import json
import sys
from dataclasses import replace

import pytest
import torch

from lean3d.data import MOTIONS
from lean3d.errors import LeanError, MissingExtraError, RunError
from lean3d.recipes import ClassificationRecipe, Recipe
from lean3d.recipes.augment_on import placed
from lean3d.recipes.datasets import datasets
from lean3d.recipes.runs import load_run, run
from tests.data.films import film

pytest.importorskip("sklearn")

TINY = ClassificationRecipe(
    name="tiny",
    data="digits",
    num_classes=len(MOTIONS),
    class_names=MOTIONS,
    model="mobilenet3d_v1",
    options=("width=0.125",),
    clip=8,
    video=10,
    train_samples=4,
    val_samples=23,
    batch_size=2,
    epochs=1,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return folder, run(TINY, folder, accelerator="cpu", progress=False)


def test_a_run_on_clips_reports_top_1_of_all_and_of_each_class(trained):
    row = trained[1]["epochs"][0]
    assert trained[1]["monitor"] == "val_top1"
    assert {"train_loss", "val_loss", "val_top1", "val_top5", "val_top1_left_right"} <= row.keys()
    assert trained[1]["best_val_top1"] == row["val_top1"]


def test_its_folder_is_enough_to_load_the_model(trained):
    model, recipe = load_run(trained[0])
    assert recipe == TINY
    assert model(torch.randn(2, 3, 8, 32, 32)).shape == (2, len(MOTIONS))


def test_a_recipe_of_clips_survives_json():
    assert Recipe.from_dict(json.loads(json.dumps(TINY.to_dict()))) == TINY


def test_clips_have_the_sizes_of_the_recipe_and_splits_their_own_digits():
    train, val = datasets(replace(TINY, clip=6, size=24))
    assert train[0][0].shape == val[0][0].shape == (3, 6, 24, 24)
    assert not torch.equal(train.images, val.images)
    assert (len(train), len(val)) == (4, 23)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(data="Jester"), "no file or folder Jester"),
        (dict(data=""), "needs data"),
        (dict(held_out=1.0), "held_out"),
        (dict(in_channels=1), "digits have 3 channels"),
        (
            dict(num_classes=27, class_names=None),
            "23 classes.*asks for 27.*--class-names left right",
        ),
        (dict(clip=11), "clip is 2 frames or more, at most the 10"),
        (dict(clip=1), "clip"),
        (dict(size=8), "size is 16"),
    ],
)
def test_refuses_clips_that_cannot_be_drawn(tmp_path, bad, message):
    with pytest.raises(LeanError, match=message):
        run(replace(TINY, **bad), tmp_path / "run", accelerator="cpu", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("bad", [dict(group_by="g[0-9]"), dict(test_share=0.2)])
def test_data_with_parts_are_not_parted_again(tmp_path, bad):
    for part in ("train", "val"):
        for label in ("bow", "wave"):
            film(make(tmp_path / part / label) / "g1.mp4")
    recipe = replace(TINY, data=str(tmp_path), num_classes=0, class_names=None, **bad)
    with pytest.raises(LeanError, match=f"{next(iter(bad))} is for data without parts, and /"):
        run(recipe, tmp_path / "run", accelerator="cpu", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_batch_norm_without_values_is_one_sentence(tmp_path):
    with pytest.raises(RunError, match="a batch norm has a single value a channel to learn from"):
        run(replace(TINY, batch_size=1), tmp_path / "run", accelerator="cpu", progress=False)
    assert not (tmp_path / "run").exists()


def make(folder):
    folder.mkdir(parents=True)
    return folder


def test_without_torchvision_clips_are_made_in_the_loaders_unless_the_device_is_asked_for(
    monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2.functional", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    recipe = replace(TINY, data=str(tmp_path))
    said = []
    found, look = placed(recipe, "auto", said.append)
    assert (found.augment_on, look, len(said)) == ("loader", None, 1)
    assert "not on the GPU" in said[0]
    with pytest.raises(MissingExtraError, match=r"torchvision.*lean3d\[augment\]"):
        placed(replace(recipe, augment_on="device"), "cpu", said.append)


def test_drawn_clips_are_not_made_on_the_device(tmp_path):
    with pytest.raises(LeanError, match="augment_on is for runs on clips of videos alone, got"):
        run(replace(TINY, augment_on="device"), tmp_path / "run", accelerator="cpu")
