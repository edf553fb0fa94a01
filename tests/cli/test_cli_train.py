import json
import shlex

import numpy as np
import pytest
from cli_cases import FLAGS, last_json, save

TRAIN = "train", "folder", "--patch", 8, 8, 8, "--widths", 4, 6, *FLAGS


def test_trains_on_a_folder_and_resumes(lean3d, cases, tmp_path):
    ask = *TRAIN, "--data", cases, "--out", tmp_path / "run"
    code, out, err = lean3d(*ask)
    answer = last_json(out)
    assert code == 0
    assert (answer["run"], answer["epochs"]) == (str(tmp_path / "run"), 1)
    assert out.splitlines()[0].split() == ["class", "Dice"]
    assert "epoch 1/1  train_loss" in err
    code, out, _ = lean3d(*ask, "--epochs", 2, "--resume")
    assert (code, last_json(out)["epochs"]) == (0, 2)


def test_the_default_folder_is_named_after_the_recipe(lean3d, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = lean3d("train", "shapes2d", "--widths", 2, 2, *FLAGS)
    assert code == 0, err
    assert err.startswith("makes ")
    assert (code, last_json(out)["run"]) == (0, "runs/shapes2d")
    assert (tmp_path / "runs" / "shapes2d" / "recipe.json").exists()


def test_help_lists_the_recipes_and_their_settings(lean3d):
    listed = lean3d("train", "--help")[1]
    assert "brain_acs" in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert "--spacing-mm" in lean3d("train", "brain3d", "--help")[1]


def test_a_used_folder_is_kept(refused, lean3d, tmp_path):
    ask = "train", "shapes2d", "--widths", 2, 2, *FLAGS, "--out", tmp_path / "run"
    lean3d(*ask)
    assert "pass --resume" in refused(*ask)


def test_an_unknown_recipe_suggests_the_nearest(refused):
    assert "did you mean shapes3d" in refused("train", "shape3d")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", 0], "epochs must be 1 or more"),
        (["--conv", "acss"], "did you mean acs"),
        (["--num-classes", 1], "num_classes"),
        (["--start-from", "nowhere"], "no run folder"),
        (["--precision", "16-mixed"], "GPU"),
        (["--accelerator", "abacus"], "abacus"),
        (["--model", "unet2d"], "does not take crops of"),
        (["--lr", -1], "lr must be from 0 to"),
        (["--resume"], "no run folder"),
    ],
)
def test_settings_that_cannot_run_are_one_sentence(refused, cases, tmp_path, flags, message):
    assert message in refused(*TRAIN, "--data", cases, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def truncate(cases):
    path = cases / "images" / "case1.nii.gz"
    path.write_bytes(path.read_bytes()[:400])


def reshape_label(cases):
    save(cases / "labels" / "case1.nii.gz", np.zeros((10, 12, 7), np.uint8))


def label_out_of_range(cases):
    save(cases / "labels" / "case1.nii.gz", np.full((10, 12, 8), 7, np.uint8))


def all_nan(cases):
    save(cases / "images" / "case1.nii.gz", np.full((10, 12, 8), np.nan, np.float32))


@pytest.mark.parametrize("damage", [truncate, reshape_label, label_out_of_range, all_nan])
def test_bad_data_name_the_file_and_leave_no_folder(refused, cases, tmp_path, damage):
    damage(cases)
    assert "case1" in refused(*TRAIN, "--data", cases, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_is_one_sentence(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(*TRAIN, "--data", tmp_path / "empty", "--out", tmp_path / "run")


def test_a_full_disk_leaves_no_half_checkpoint(lean3d, cases, tmp_path, full_disk):
    flags = "--data", cases, "--out", tmp_path / "run", "--widths", 8, 16
    code, out, err = lean3d(*TRAIN, *flags)
    assert (code, out) == (2, "")
    assert "File too large" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


SMALL = "--widths", 4, 4, 4, 4, "--size", 32, "--clip", 5


def images(folder, num=4):
    from PIL import Image

    folder.mkdir(parents=True)
    for t in range(num):
        Image.new("RGB", (40, 40), (60 * t, 0, 0)).save(folder / f"{t}.png")


def test_trains_on_a_folder_of_videos_by_the_names_of_its_classes(lean3d, refused, tmp_path):
    for name in ("Bow Down", "wave"):
        for video in range(2):
            images(tmp_path / "data" / name / str(video))
    (tmp_path / "data" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "data" / "wave" / "._0.mp4").write_bytes(b"no video")
    (tmp_path / "data" / "wave" / "notes.txt").write_text("no video")
    ask = "train", "videos", *SMALL, *FLAGS, "--data", tmp_path / "data", "--out", tmp_path / "run"
    told = refused(*ask, "--class-names", "a", "b")
    flags = shlex.split(told.split("pass ")[-1])
    assert flags == ["--num-classes", "2", "--class-names", "Bow Down", "wave"]
    code, out, err = lean3d(*ask)
    assert code == 0
    assert out.splitlines()[0].split() == ["class", "top-1"]
    assert {"val_top1", "val_top5", "val_top1_Bow Down"} <= last_json(out).keys()
    assert "1 file(s) in" in err
    assert lean3d(*ask, *flags, "--resume", "--epochs", 2)[0] == 0


def test_trains_on_a_published_data_set_in_grey(lean3d, tmp_path):
    lists = {
        "jester-v1-labels.csv": "Swiping Left\nStop Sign\n",
        "jester-v1-train.csv": "1;Swiping Left\n2;Stop Sign\n3;Stop Sign\n",
        "jester-v1-validation.csv": "4;Stop Sign\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    for number in (1, 2, 4):
        images(tmp_path / "20bn-jester-v1" / str(number))
    look = "--in-channels", 1, "--width", 40, "--crop", "corners", "--flip", "--step", 2
    ask = "train", "videos", *SMALL, *FLAGS, *look, "--directed", "Swiping Left"
    run = tmp_path / "run"
    code, _, err = lean3d(*ask, "--data", f"jester:{tmp_path}", "--out", run)
    assert code == 0
    assert "1 video(s) of train are listed and absent, such as 3" in err
    recipe = json.loads((run / "recipe.json").read_text())["recipe"]
    assert recipe["class_names"] == ["Swiping Left", "Stop Sign"]
