"""One reference to a network in every command; zoos: tests/zoo."""

import json

import own_networks
import pytest
import torch
from cli_cases import FLAGS, last_json
from own_networks import Pixels

NET = f"{own_networks.__file__}:Pixels"
TRAIN = "train", "folder", "--patch", 8, 8, 8, *FLAGS, "--model", NET
FILES = "images/case0.nii.gz"


def recorded(run):
    return json.loads((run / "recipe.json").read_text())


def test_a_network_of_ones_own_is_trained_and_predicts_from_its_run(
    lean3d, cases, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    code, _, err = lean3d(*TRAIN, "--convert", "acs", "--data", cases, "--out", run)
    assert code == 0, err
    recipe = recorded(run)["recipe"]
    # what the recipe's own model takes is not asked of another one
    assert (recipe["conv"], recipe["widths"], recipe["options"]) == (None, None, [])
    assert recipe["model"] == NET
    monkeypatch.chdir(tmp_path)
    code, out, err = lean3d("predict", cases / FILES, "--run", run, "--out", tmp_path / "m.nii.gz")
    assert code == 0, err
    assert (tmp_path / "m.nii.gz").exists()
    code, out, err = lean3d("count", run)
    assert (code, last_json(out)["input_shapes"]) == (0, [[1, 1, 8, 8, 8]])


def test_a_relative_file_is_recorded_with_its_place(lean3d, cases, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from own_networks import Pixels as net\n")
    monkeypatch.chdir(tmp_path)
    flags = "--model", "mine.py:net", "--convert", "planar"
    assert lean3d(*TRAIN, *flags, "--data", cases, "--out", "run")[0] == 0
    assert recorded(tmp_path / "run")["recipe"]["model"] == f"{tmp_path / 'mine.py'}:net"
    code, _, err = lean3d(*TRAIN, *flags, "--data", cases, "--out", "run", "--resume")
    assert code == 0, err


def test_training_starts_from_a_2d_checkpoint_and_says_what_is_fresh(lean3d, cases, tmp_path):
    torch.save(Pixels(3, 5).state_dict(), tmp_path / "flat.pt")
    run = tmp_path / "run"
    flags = "--convert", "acs", "--weights", tmp_path / "flat.pt", "--weights-part", "encoder"
    code, _, err = lean3d(*TRAIN, *flags, "--data", cases, "--out", run)
    assert code == 0, err
    fresh = recorded(run)["fresh_weights"]
    assert {name.partition(".")[0] for name in fresh} == {"decoder", "head"}
    assert f"flat.pt: 2 tensors; {len(fresh)} start afresh" in err
    # the run has its own weights
    (tmp_path / "flat.pt").unlink()
    assert lean3d("count", run)[0] == 0


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "the model is 2D: pass --convert acs"),
        (["--convert", "asc"], "did you mean acs"),
        (["--convert", "acs", "--weights", "no.pth"], "there is no file no.pth"),
        (["--convert", "acs", "--weights", "here"], "the function takes no weights"),
        (["--convert", "acs", "--widths", "3", "3"], "no argument of"),
        (["--keep-depth", "2"], "keep_depth is for a conversion"),
        (["--convert", "acs", "--keep-depth", "-1"], "keep_depth must be 0 or more"),
        (["--model", "timm:"], "timm"),
        (["--weights", "pretrained", "--start-from", "runs/x"], "weights is given beside start"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(refused, cases, tmp_path, flags, sentence):
    run = tmp_path / "run"
    assert sentence in refused(*TRAIN, *flags, "--data", cases, "--out", run)
    assert not run.exists()


def test_weights_of_another_architecture_leave_no_folder(refused, cases, tmp_path):
    torch.save(Pixels(3, 5, width=7).state_dict(), tmp_path / "flat.pt")
    flags = "--convert", "acs", "--weights", tmp_path / "flat.pt"
    assert "flat.pt does not fit" in refused(
        *TRAIN, *flags, "--data", cases, "--out", tmp_path / "r"
    )
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_count_and_bench_take_any_reference(lean3d):
    small = "--input", "1,1,4,6,6", "--num-classes", 2
    code, out, err = lean3d("count", NET, "--convert", "acs", *small)
    assert code == 0, err
    assert last_json(out)["params"] == sum(p.numel() for p in Pixels(1, 2).parameters())
    other = "--against", NET, "--against-convert", "inflate", "--rounds", 1
    code, out, err = lean3d("bench", NET, "--convert", "acs", *other, *small)
    assert code == 0, err
    assert {row["model"] for row in last_json(out)["timings"]} == {f"{NET} acs", f"{NET} inflate"}


def test_convert_takes_any_reference_and_weights(lean3d, tmp_path):
    flat = Pixels(3, 5)
    torch.save(flat.state_dict(), tmp_path / "flat.pt")
    files = "--weights", tmp_path / "flat.pt", "--out", tmp_path / "deep.pt"
    code, out, err = lean3d("convert", NET, "--how", "acs", *files)
    assert code == 0, err
    assert last_json(out)["weights_loaded"]
    deep = torch.load(tmp_path / "deep.pt", weights_only=True)
    assert all(torch.equal(x, deep[name]) for name, x in flat.state_dict().items())


def test_the_model_of_a_run_is_fixed(refused, lean3d, cases, tmp_path):
    run = tmp_path / "run"
    lean3d(*TRAIN, "--convert", "acs", "--data", cases, "--out", run)
    assert "is a run, which has its own model" in refused("count", run, "--num-classes", 3)
    assert "leave out --convert" in refused("count", run, "--convert", "acs")


def test_a_run_is_exported_whole_with_its_recipe(lean3d, cases, tmp_path):
    run, out = tmp_path / "run", tmp_path / "net.onnx"
    lean3d(*TRAIN, "--convert", "acs", "--data", cases, "--out", run)
    code, said, err = lean3d("export", run, "--out", out)
    assert code == 0, err
    answer = last_json(said)
    assert answer["free"].keys() == {"batch", "depth", "height", "width"}
    assert answer["checked"][0] == [1, 1, 8, 8, 8]
    assert answer["largest_difference"] < 1e-4
    assert b'"task": "segmentation"' in out.read_bytes()


def test_a_network_of_ones_own_is_exported_whole(lean3d, tmp_path):
    ask = "export", NET, "--convert", "acs", "--input", "1,1,6,8,8", "--out", tmp_path / "net.pt2"
    code, said, err = lean3d(*ask)
    assert code == 0, err
    assert "equal to the network on 1x1x6x8x8 and 2x1x6x8x32" in said


@pytest.mark.slow
def test_a_lean_form_is_one_name_in_every_command(lean3d, cases, tmp_path):
    run, given = tmp_path / "run", ("--convert", "p3sc1", "--keep-depth", "all")
    code, _, err = lean3d(*TRAIN, *given, "--data", cases, "--out", run)
    assert code == 0, err
    out = tmp_path / "mask.nii.gz"
    code, _, err = lean3d("predict", cases / FILES, "--run", run, "--out", out)
    assert code == 0, err
    assert out.exists()
    size = "--input", "1,3,8,16,16"
    code, out, err = lean3d("count", NET, "--convert", "p3sc1", *size)
    assert (code, "ParallelSeparable" in out or "streams" in out) == (0, True), err
    code, out, err = lean3d("convert", NET, "--how", "p3sc1", "--volume-channels", "1")
    assert code == 0, err
    assert {row["after"].partition("(")[0] for row in last_json(out)["changed"]} == {
        "ParallelSeparableConv3d"
    }
    assert "Inflate(" in out
