"""UCF101 by the command line: train, evaluate, tune published weights, learn a recurrent head."""

import csv
import json

import pytest
from cli_cases import last_json

from tests.data.films import film
from tests.recipes.test_published_weights import published

CLASSES = "Archery", "Bowling"
SMALL = "--accelerator", "cpu", "--train-samples", 8, "--val-samples", 4, "--batch-size", 4
SMALL += "--epochs", 2, "--warmup", 0, "--size", 32


@pytest.fixture(scope="module")
def ucf101(tmp_path_factory):
    """Three groups of each class to train on and one to test on, as in UCF101."""
    root = tmp_path_factory.mktemp("ucf101")
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    named = [f"{number} {name}" for number, name in enumerate(CLASSES, 1)]
    (lists / "classInd.txt").write_text("\n".join(named) + "\n")
    train, test = [], []
    for number, name in enumerate(CLASSES, 1):
        (root / "UCF-101" / name).mkdir(parents=True)
        for group in range(1, 5):
            path = f"{name}/v_{name}_g{group:02}_c01.avi"
            film(root / "UCF-101" / path, frames=30 + group, size=(48, 64))
            (test.append(path) if group == 1 else train.append(f"{path} {number}"))
    (lists / "trainlist01.txt").write_text("\n".join(train) + "\n")
    (lists / "testlist01.txt").write_text("\n".join(test) + "\n")
    return root


def scored(lean3d, folder, *flags):
    """The rows of scores.csv, by their videos."""
    code, out, err = lean3d("evaluate", folder, "--device", "cpu", *flags)
    assert code == 0, err
    summary = last_json(out)["summary"]
    assert {"all videos", "mean of classes", *CLASSES} == {row["class"] for row in summary}
    with (folder / "evaluation" / "scores.csv").open() as file:
        return {row["case"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_ucf101_is_learnt_evaluated_tuned_and_remembered(lean3d, ucf101, tmp_path):
    data = f"ucf101:{ucf101}"

    def trained(recipe, out, *flags):
        code, shown, err = lean3d("train", recipe, "--data", data, "--out", out, *SMALL, *flags)
        assert code == 0, err
        assert "top-1" in shown
        recipe = json.loads((out / "recipe.json").read_text())
        assert recipe["recipe"]["class_names"] == list(CLASSES)
        return recipe

    # in two processes
    first, narrow = tmp_path / "first", ("--widths", 4, 4, 4, 4)
    begun = trained("videos", first, *narrow, "--devices", 2)
    assert begun["sessions"][0]["processes"] == 2
    # ten clips of each video of the test list; ten times three crops; all windows
    ten = scored(lean3d, first)
    assert len(ten) == 2
    assert {row["clips"] for row in ten.values()} == {"10"}
    thirty = scored(lean3d, first, "--crops", 3, "--size", 40, "--devices", 2)
    assert {row["clips"] for row in thirty.values()} == {"30"}
    every = scored(lean3d, first, "--stride", 1)
    assert {row["clips"] for row in every.values()} == {str(31 - 19 + 1)}
    # weights of VMZ and of torchvision, with a new head, at the rates of their recipes
    for form, recipe, flags in (
        ("vmz", "csn_finetune", ("--model", "ir_csn_26", "--widths", 8, 8, 8, 8, "--clip", 16)),
        ("torchvision", "videos", ("--model", "resnet3d_18", *narrow, "--options", "pool1=false")),
    ):
        published(form, tmp_path / f"{form}.pt")
        weights = "--weights", tmp_path / f"{form}.pt", "--format", form
        frames = "--crop", "short_side", "--short-side", 34, 36
        tuned = trained(recipe, tmp_path / form, *flags, *weights, *frames, "--freeze", "stem")
        assert all(name.startswith("fc.") for name in tuned["fresh_weights"])
        assert {row["clips"] for row in scored(lean3d, tmp_path / form).values()} == {"10"}
    # and a recurrent head on all frames
    head = "--options", "head=lstm", "layers=1", "hidden=8", "--video", 40
    trained("videos_lstm", tmp_path / "head", *narrow, "--start-from", first, *head)
    whole = scored(lean3d, tmp_path / "head")
    assert {row["clips"] for row in whole.values()} == {"1"}
