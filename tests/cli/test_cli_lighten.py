"""lean3d lighten."""

import json
from pathlib import Path

import pytest

from lean3d.cli.lighten import _beside

SMALL = "--widths", 8, 16, "--train-samples", 4, "--val-samples", 2, "--batch-size", 2
QUICK = "--macs", 0.5, "--cuts", "channels", "--samples", 1, "--epochs", 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lighten")


def test_the_new_run_is_beside_the_first_one(tmp_path, monkeypatch):
    assert _beside(Path("runs/one")) == Path("runs/one_light")
    monkeypatch.chdir(tmp_path)
    assert _beside(Path(".")) == tmp_path.resolve().with_name(f"{tmp_path.name}_light")


def test_a_run_is_made_lighter_and_every_command_takes_it(lean3d, folder):
    code, _, err = lean3d(
        "train", "shapes3d", *SMALL, "--epochs", 1, "--out", folder / "run", "--accelerator", "cpu"
    )
    assert code == 0, err
    code, out, err = lean3d(
        "lighten", folder / "run", *QUICK, "--out", folder / "light", "--accelerator", "cpu"
    )
    assert code == 0, err
    assert "encoder.0.3" in out
    assert "inputs 4" in out or "outputs 4" in out
    said = json.loads(out.splitlines()[-1])
    assert said["target"] == "macs"
    assert said["ratio"] <= 0.5
    assert said["epochs"] == 1
    assert said["score_before"] is not None
    code, out, err = lean3d("count", folder / "light", "--input", "1,1,48,48,48")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["macs"] == said["measured"]


def test_refusals_are_one_sentence(refused, folder):
    assert "is no run folder" in refused("lighten", folder / "no", "--time", 0.5)
    assert "is no run folder" in refused("lighten", folder / "no", "--curve", 1)
    assert "epochs is 1 or more" in refused("lighten", folder / "run", "--epochs", 0)
    assert "targets above 0" in refused("lighten", folder / "run", "--curve", 2)
    assert "holds a run already" in refused(
        "lighten", folder / "run", *QUICK, "--out", folder / "light"
    )
    assert "takes one of time, macs" in refused("lighten", folder / "run", "--out", folder / "new")
    assert "--single is of a curve" in refused("lighten", folder / "run", *QUICK, "--single")
    assert "--scratch is of one" in refused("lighten", folder / "run", "--curve", 1, "--scratch")
    assert not (folder / "new").exists()


def test_a_refusal_leaves_a_run_that_was_killed_early_as_it_is(refused, folder, tmp_path):
    record = tmp_path / "light" / "recipe.json"
    record.parent.mkdir()
    record.write_text('{"recipe": {}, "lightening": {}}')
    ask = "lighten", folder / "no", "--time", 0.5, "--out", record.parent, "--resume"
    assert "is no run folder" in refused(*ask)
    assert record.read_text() == '{"recipe": {}, "lightening": {}}'


@pytest.mark.slow
def test_half_of_a_stream_s_state(lean3d, tmp_path):
    sizes = "--widths", 8, 8, 16, 16, "--train-samples", 4, "--val-samples", 2, "--batch-size", 2
    run, light = tmp_path / "run", tmp_path / "light"
    code, _, err = lean3d("train", "digits", *sizes, "--epochs", 1, "--out", run)
    assert code == 0, err
    more = "--cuts", "time", "channels", "--samples", 2, "--epochs", 1
    code, out, err = lean3d("lighten", run, "--state", 0.5, *more, "--out", light)
    assert code == 0, err
    said = json.loads(out.splitlines()[-1])
    assert (said["target"], said["measured"] <= 0.5 * said["before"]) == ("state", True)
