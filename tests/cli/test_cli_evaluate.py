import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from cli_cases import FLAGS, last_json

from lean3d.cli.main import main


@pytest.fixture
def trained(cases, tmp_path, capsys):
    flags = ["--patch", 8, 8, 8, "--widths", 4, 4, "--options", "skip=full", "--num-classes", 2]
    ask = ["train", "folder", "--data", cases, "--out", tmp_path / "run", "--held-out", "0.6"]
    assert main([str(word) for word in [*ask, *FLAGS, *flags]]) == 0
    capsys.readouterr()
    return tmp_path / "run"


def test_scores_the_held_out_cases_in_a_table_that_fits_a_terminal(lean3d, trained, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    code, out, err = lean3d("evaluate", trained, "--against", other, "--device", "cpu")
    assert code == 0
    *lines, _, told = out.splitlines()
    assert max(map(len, [line for line in lines if not line.startswith("against")])) <= 80
    assert "Dice" in lines[0]
    assert lines[0].split()[-1] == "lesions"
    split = json.loads((trained / "recipe.json").read_text())["split"]
    assert json.loads(told)["cases"] == len(split["held_out"]) == 2
    assert all(f"  {name}  Dice" in err for name in split["held_out"])
    assert (trained / "evaluation" / "report.html").is_file()
    assert last_json(out)["comparison"][0]["difference"] == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--against", "nowhere"], "nowhere"),
        (["--overlap", "2"], "overlap"),
        (["--lesion-iou", "1.5"], "lesion_iou"),
        (["--tolerance-mm", "-1"], "tolerance_mm"),
        (["--device", "tpu"], "--device"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(refused, trained, tmp_path, flags, words):
    code = refused("evaluate", trained, "--out", tmp_path / "new", *flags)
    assert words in code
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_no_run_is_one_sentence(refused, cases):
    assert "no run folder" in refused("evaluate", cases)


@pytest.mark.slow
@pytest.mark.usefixtures("few_backends")
def test_optimized_networks_get_the_same_scores(lean3d, trained, tmp_path):
    found = []
    for flags in ([], ["--optimize"]):
        out = tmp_path / f"out{len(flags)}"
        code, told, err = lean3d("evaluate", trained, "--device", "cpu", "--out", out, *flags)
        assert code == 0
        assert ("the network runs by" in err) == bool(flags)
        found.append(last_json(told)["summary"])
    assert found[0] == found[1]


BAD_LABELS = {
    "holds the labels 0, 7": lambda x, a: (7 * x, a),
    "voxels away from its image": lambda x, a: (x, 2 * a),
    "voxels (right, anterior, superior)": lambda x, a: (x[1:], a),
    "which is no class number": lambda x, a: (x + np.float32(0.5), a),
}


@pytest.mark.parametrize("words", BAD_LABELS)
def test_labels_that_do_not_fit_are_refused_before_the_first_case(
    refused, trained, cases, tmp_path, words
):
    path = sorted((cases / "labels").iterdir())[-1]
    label = nib.load(path)
    array, affine = BAD_LABELS[words](np.asarray(label.dataobj), label.affine)
    nib.save(nib.Nifti1Image(array, affine), path)
    out = tmp_path / "new"
    assert words in refused("evaluate", trained, "--data", cases, "--out", out)
    assert not out.exists()


def test_scans_with_classes_are_refused_by_a_run_that_segments(refused, trained, cases, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(cases / "images", tmp_path / "classes" / name)
    ask = "evaluate", trained, "--data", f"classes:{tmp_path / 'classes'}"
    assert "has no label" in refused(*ask, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_run_is_evaluated_from_any_folder_and_after_its_data_moved(
    lean3d, refused, cases, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    flags = ["--patch", 8, 8, 8, "--widths", 4, 4, "--options", "skip=full", "--num-classes", 2]
    asked = ["train", "folder", "--data", "data", "--out", "run", "--held-out", "0.6"]
    assert lean3d(*asked, *FLAGS, *flags)[0] == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, out, _ = lean3d("evaluate", "../run", "--device", "cpu")
    assert code == 0
    before = last_json(out)
    # the same data, as they are called here
    code, out, err = lean3d("evaluate", "../run", "--data", "../data", "--device", "cpu")
    assert (code, last_json(out)) == (0, before)
    assert err.count("scored before") == 2
    cases.rename(elsewhere / "moved")
    assert "pass --data" in refused("evaluate", "../run", "--out", "no")
    # those that were held out, where they are now
    code, out, _ = lean3d("evaluate", "../run", "--data", "moved", "--out", "new")
    after = last_json(out)
    assert (code, after["cases"], after["summary"]) == (0, 2, before["summary"])
    assert "not there any more" in out
    # a run that goes on needs them where they are, too
    more = ["train", "folder", "--out", "../run", "--resume", "--epochs", 2, *flags]
    more += ["--held-out", "0.6", "--accelerator", "cpu", "--batch-size", 2]
    more += ["--train-samples", 2, "--val-samples", 2]
    assert "there is no file or folder" in refused(*more)
    assert lean3d(*more, "--data", "moved")[0] == 0
    assert lean3d(*more, "--epochs", 3)[0] == 0


@pytest.mark.slow
def test_int8_is_compared_with_the_run_itself(lean3d, trained, few_bits, tmp_path):
    ask = "--optimize", "--precision", "int8", "--device", "cpu", "--out", tmp_path / "out"
    code, out, err = lean3d("evaluate", trained, *ask, "--against", trained)
    assert code == 0
    assert len(few_bits) == 1
    assert "few bits (int8)" in err
    assert "apart" in err
    assert abs(last_json(out)["comparison"][0]["difference"]) < 0.2
    # scores in float32 are kept apart
    code, _, err = lean3d("evaluate", trained, "--device", "cpu", "--out", tmp_path / "out")
    assert "scored before" not in err


@pytest.mark.slow
def test_int8_of_openvino_keeps_the_score(lean3d, trained, tmp_path):
    pytest.importorskip("nncf")
    ask = "--optimize", "--precision", "int8", "--device", "cpu", "--out", tmp_path / "out"
    code, out, err = lean3d("evaluate", trained, *ask, "--against", trained)
    assert code == 0
    assert "(int8)" in err
    assert abs(last_json(out)["comparison"][0]["difference"]) < 0.1


@pytest.mark.slow
def test_int8_of_a_run_is_measured_on_its_own_samples(lean3d, trained, few_bits, refused):
    ask = "optimize", trained, "--device", "cpu", "--precision", "int8", "--samples", 3
    code, out, _ = lean3d(*ask)
    assert code == 0
    assert "calibrated on 2 samples of the run's data" in out
    row = next(row for row in last_json(out)["candidates"] if row["backend"] == "few bits")
    assert 0 < row["rms"] < 0.1
    assert 0.9 < row["same"] <= 1
    code, out, _ = lean3d(*ask, "--input", "2,1,4,12,8")
    assert last_json(out)["input"] == [2, 1, 4, 12, 8]
    assert "not like the run's" in refused(*ask, "--input", "1,1,8,8")
    assert "--samples is 1 or more" in refused(*ask[:-1], 0)
    assert "precision is for optimize alone" in refused("evaluate", trained, *ask[4:6])
