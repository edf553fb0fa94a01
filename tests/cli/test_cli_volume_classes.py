"""Train, evaluate and predict classes of whole volumes."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from cli_cases import last_json, save
from sklearn.linear_model import LogisticRegression

from lean3d.data import is_ct, load_volume
from lean3d.recipes import Recipe
from lean3d.recipes.build import build_model
from lean3d.recipes.class_cases import sample_of, split_classes
from lean3d.recipes.resolve import resolve

SMALL = ["--widths", 2, 2, 4, 4, "--batch-size", 4, "--epochs", 3, "--lr", 0.02]
SMALL += ["--accelerator", "cpu", "--held-out", 0.3]


def volume(case, bright):
    random = np.random.default_rng(case)
    return (random.normal(0, 1, (10, 9, 8)) + 4 * bright * (np.arange(9)[:, None] > 4)).astype("f4")


@pytest.fixture
def folders(tmp_path):
    for name, bright in (("dark", 0), ("striped", 1)):
        for case in range(10):
            save(tmp_path / "data" / name / f"v{case}.nii.gz", volume(case + 100 * bright, bright))
    return tmp_path / "data"


def test_classes_of_volumes_are_learnt_evaluated_and_predicted(lean3d, folders, tmp_path):
    run = tmp_path / "run"
    data = f"classes:{folders}"
    code, out, err = lean3d("train", "volume_classes", "--data", data, "--out", run, *SMALL)
    assert code == 0, err
    assert "balanced accuracy" in out
    recipe = json.loads((run / "recipe.json").read_text())["recipe"]
    assert recipe["size"] == [8, 9, 10]
    assert recipe["class_names"] == ["dark", "striped"]
    assert (recipe["in_channels"], recipe["train_samples"], recipe["val_samples"]) == (1, 14, 6)
    code, out, err = lean3d("evaluate", run, "--against", run)
    assert code == 0, err
    *lines, _, told = out.splitlines()
    assert max(map(len, [line for line in lines if "/" not in line])) <= 80
    scores = {row["class"]: row["value"] for row in json.loads(told)["summary"]}
    assert scores["AUC"] == pytest.approx(last_auc(run), abs=1e-6)
    page = (run / "evaluation" / "report.html").read_text()
    assert "ROC" in page
    assert "Confusion" in page
    # in a process that knows no recipe yet
    words = sys.executable, "-m", "lean3d", "export", run, "--out", tmp_path / "net.onnx"
    done = subprocess.run([*map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout)["input"] == [1, 1, 8, 9, 10]
    table = tmp_path / "classes.csv"
    code, out, err = lean3d("predict", folders / "striped", "--run", run, "--out", table)
    assert code == 0, err
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 10
    for row in rows:
        dark, striped = float(row["p_dark"]), float(row["p_striped"])
        assert dark + striped == pytest.approx(1)
        assert row["class"] == ("striped" if striped > dark else "dark")


def test_a_scan_without_a_class_is_counted_and_the_others_are_written(lean3d, folders, tmp_path):
    run, table = tmp_path / "run", tmp_path / "classes.csv"
    ask = "train", "volume_classes", "--data", f"classes:{folders}", "--out", run, *SMALL
    assert lean3d(*ask, "--epochs", 1)[0] == 0
    (folders / "dark" / "v3.nii.gz").write_bytes(b"no scan")
    code, _, err = lean3d("predict", folders / "dark", "--run", run, "--out", table)
    assert code == 2
    assert err.startswith(f"lean3d: 1 of 10 scans have no class in {table}, such as v3: ")
    assert err.count("\n") == 1
    assert len(table.read_text().splitlines()) == 10


@pytest.mark.slow
def test_weights_of_classes_are_given_or_measured(lean3d, refused, folders, tmp_path):
    for case in range(4, 10):
        (folders / "striped" / f"v{case}.nii.gz").unlink()
    ask = "train", "volume_classes", "--data", f"classes:{folders}", *SMALL, "--epochs", 1
    given = {"own": ["--class-weights", 1, 5], "measured": [], "equal": ["--no-balance"]}
    weights = {}
    for name, more in given.items():
        code, _, err = lean3d(*ask, "--out", tmp_path / name, *more)
        assert code == 0, err
        record = json.loads((tmp_path / name / "recipe.json").read_text())
        weights[name] = record["recipe"]["class_weights"]
    # 7 dark and 3 striped ones are trained on
    assert weights == {"own": [1, 5], "measured": [0.714286, 1.666667], "equal": []}
    told = refused(*ask, "--out", tmp_path / "odd", "--class-weights", 1, 5, 3)
    assert "class_weights has 1 number for each class, 2 in all, got (1.0, 5.0, 3.0)" in told
    assert not (tmp_path / "odd").exists()


def last_auc(run):
    results = json.loads((run / "metrics.json").read_text())
    return results["epochs"][results["best_epoch"] - 1]["val_auc"]


@pytest.mark.slow
def test_ordered_classes_in_a_table_with_parts(lean3d, tmp_path):
    lines = ["file,grade,split"]
    for case in range(12):
        save(tmp_path / "data" / f"v{case}.nii.gz", volume(case, case % 3))
        lines.append(f"v{case}.nii.gz,{case % 3},{('train', 'val', 'test')[min(case // 3, 2)]}")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(lines) + "\n")
    ask = ["train", "volume_classes", "--data", f"csv:{tmp_path / 'data'}", "--ordinal"]
    more = [*SMALL[:-4], "--accelerator", "cpu", "--fit", "crop", "--size", 8, 8, 8, "--shift", 1]
    code, _, err = lean3d(*ask, "--out", tmp_path / "run", *more)
    assert code == 0, err
    split = json.loads((tmp_path / "run" / "recipe.json").read_text())["split"]
    assert {name: len(cases) for name, cases in split.items()} == dict(train=3, held_out=3, test=6)
    code, out, err = lean3d("evaluate", tmp_path / "run")
    assert code == 0, err
    assert last_json(out)["cases"] == 6
    assert "weighted kappa" in out


def test_ordered_classes_with_names_are_learnt_in_the_order_given(refused, lean3d, tmp_path):
    lines, grades = ["file,grade"], ("low", "mid", "high")
    for case in range(9):
        save(tmp_path / "data" / f"v{case}.nii.gz", volume(case, case % 3))
        lines.append(f"v{case}.nii.gz,{grades[case % 3]}")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(lines) + "\n")
    ask = ["train", "volume_classes", "--data", f"csv:{tmp_path / 'data'}", "--ordinal"]
    ask += ["--out", tmp_path / "run", *SMALL]
    assert "--class-names high low mid" in refused(*ask)
    assert not (tmp_path / "run").exists()
    code, _, err = lean3d(*ask, "--accelerator", "cpu", "--class-names", *grades)
    assert code == 0, err
    lean3d("evaluate", tmp_path / "run")
    with (tmp_path / "run" / "evaluation" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(row["class"] == grades[int(row["case"][1:]) % 3] for row in rows)


@pytest.mark.parametrize(
    ("data", "words"),
    [("csv:{}", "labels.csv"), ("classes:{}/dark", "of a class"), ("{}", "expected images/")],
)
def test_data_without_classes_are_one_sentence(refused, folders, tmp_path, data, words):
    ask = "train", "volume_classes", "--data", data.format(folders), "--out", tmp_path / "run"
    assert words in refused(*ask, *SMALL)
    assert not (tmp_path / "run").exists()


def test_one_scale_for_all_volumes_of_a_run(lean3d, tmp_path):
    """One volume looks like a CT and others do not: all are scaled by themselves."""
    for name in ("a", "b"):
        for case in range(4):
            x = np.round(volume(case, name == "b") * 100)
            x = x if (name, case) == ("a", 0) else x - x.min() + 5
            save(tmp_path / "data" / name / f"v{case}.nii.gz", x.astype("f4"))
    run = tmp_path / "run"
    ask = "train", "volume_classes", "--data", f"classes:{tmp_path / 'data'}", "--out", run
    code, _, err = lean3d(*ask, *SMALL, "--epochs", 1)
    assert code == 0, err
    recipe = Recipe.from_dict(json.loads((run / "recipe.json").read_text())["recipe"])
    assert recipe.scaling == (0, 0, 0, 0)
    ct = load_volume(tmp_path / "data" / "a" / "v0.nii.gz")
    assert is_ct(ct.image[0])
    # prediction scales a scan as training did, whatever it looks like by itself
    assert abs(sample_of(recipe, ct).mean()) < 1e-4


def test_the_unit_of_ct_is_kept_where_all_are_ct(lean3d, tmp_path):
    for name in ("a", "b"):
        for case in range(4):
            hu = np.round(volume(case, name == "b") * 300) - 300
            save(tmp_path / "data" / name / f"v{case}.nii.gz", hu.astype("f4"))
    ask = "train", "volume_classes", "--data", f"classes:{tmp_path / 'data'}"
    code, _, err = lean3d(*ask, "--out", tmp_path / "run", *SMALL, "--epochs", 1)
    assert code == 0, err
    recipe = Recipe.from_dict(json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"])
    assert recipe.scaling == (-1000, 1000, 0, 500)
    scan = load_volume(tmp_path / "data" / "a" / "v0.nii.gz")
    brighter = replace(scan, image=scan.image.abs())  # no value below 0: no CT by itself
    assert not is_ct(brighter.image[0])
    expected = (brighter.image.clamp(-1000, 1000) / 500).numpy()
    found = sample_of(replace(recipe, size=(8, 9, 10)), brighter).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def graded(folder, grades):
    lines = ["file,grade"]
    for case, grade in enumerate(grades):
        save(folder / f"v{case}.nii.gz", volume(case, case % 2))
        lines.append(f"v{case}.nii.gz,{grade}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return f"csv:{folder}"


def test_classes_of_other_data_are_matched_by_name(lean3d, refused, tmp_path):
    run, data = tmp_path / "run", graded(tmp_path / "data", [1, 3] * 5)
    ask = "train", "volume_classes", "--data", data, "--out", run, *SMALL, "--epochs", 1
    code, _, err = lean3d(*ask)
    assert code == 0, err
    assert json.loads((run / "recipe.json").read_text())["recipe"]["class_names"] == ["1", "3"]
    # the second class alone, which is the only one there, remains the second
    code, _, err = lean3d("evaluate", run, "--data", graded(tmp_path / "three", [3, 3]))
    assert code == 0, err
    rows = list(csv.DictReader((run / "evaluation" / "scores.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == ["3", "3"]
    new = tmp_path / "new"
    for grades, words in (([1, 2], "v1 is of class 2"), ([0, 1], "v0 is of class 0")):
        ask = "evaluate", run, "--data", graded(tmp_path / "other", grades), "--out", new
        assert f"{words}, and the run learnt 1, 3" in refused(*ask)
        assert not new.exists()


def test_held_out_volumes_of_one_class_are_refused(refused, tmp_path):
    data = graded(tmp_path / "data", [0, 0, 0, 0, 1])
    ask = "train", "volume_classes", "--data", data, "--out", tmp_path / "run", *SMALL
    assert "is of one class" in refused(*ask)
    assert not (tmp_path / "run").exists()


FLAT = """
import torch
from torch import nn

def net(in_channels, num_classes):
    body = [nn.Conv2d(in_channels, 6, 3, 1, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes))
"""


def test_a_probe_is_a_regression_on_the_features_of_volumes(lean3d, folders, tmp_path):
    (tmp_path / "flat.py").write_text(FLAT)
    words = ["probe", "volume_classes", "--data", f"classes:{folders}", "--held-out", 0.3]
    words += ["--model", f"{tmp_path / 'flat.py'}:net", "--convert", "acs", "--seed", 3]
    words += ["--shift", 2, "--flips", 0, "--augment", "light", "--device", "cpu"]
    code, out, err = lean3d(*words, "--json", tmp_path / "scores.json")
    assert code == 0, err
    assert "random weights" in err
    (found,) = last_json(out)["scores"]
    kept = json.loads((tmp_path / "scores.json").read_text())
    assert kept["scores"] == [found]
    assert (found["part"], found["volumes"]) == ("validation", 6)
    # by hand
    recipe = resolve(Recipe.from_dict(kept["settings"]))
    model, split = build_model(recipe).model.eval(), split_classes(recipe)

    @torch.no_grad()
    def seen(cases):
        x = torch.stack([sample_of(recipe, case.read()) for case in cases])
        return model[:5](x).flatten(1), [case.target for case in cases]

    (x, y), (others, labels) = seen(split.train), seen(split.held_out)
    mean, std = x.mean(0), x.std(0, correction=0)
    fitted = LogisticRegression(C=0.1, max_iter=2000).fit((x - mean) / std, y)
    right = fitted.predict((others - mean) / std) == labels
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["auc"] > 0.5


@pytest.mark.slow
def test_a_probe_of_a_run_has_its_weights(lean3d, folders, tmp_path):
    words = ["volume_classes", "--data", f"classes:{folders}", "--widths", 2, 2, 4, 4]
    small = ["--epochs", 1, "--accelerator", "cpu", "--out", tmp_path / "run"]
    assert lean3d("train", *words, *small)[0] == 0
    code, out, err = lean3d("probe", *words, "--start-from", tmp_path / "run", "--device", "cpu")
    assert code == 0, err
    assert f"weights of {tmp_path / 'run'}" in err
    other = last_json(lean3d("probe", *words, "--device", "cpu", "--seed", 5)[1])["scores"]
    assert last_json(out)["scores"] != other


def test_a_probe_of_voxels_is_refused(lean3d, tmp_path):
    code, _, err = lean3d("probe", "shapes3d", "--device", "cpu")
    assert code == 2
    assert err == "lean3d: a probe classifies whole volumes; recipe shapes3d does not\n"
    code, _, err = lean3d("probe", "volume_classes", "--data", "x", "--json", tmp_path)
    assert code == 2
    assert f"--json {tmp_path} is a folder" in err
