"""A run made lighter, in a run folder of its own."""

import json
from dataclasses import replace

import pytest
import torch

from lean3d.errors import LeanError, RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.lighten import Lighter, lighten_run
from lean3d.recipes.load import load_run, read_recipe
from lean3d.recipes.runs import run

HOW = Lighter(macs=0.5, cuts=("time", "channels"), samples=1, epochs=2)
QUIET = dict(accelerator="cpu", progress=False)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    small = dict(widths=(8, 16), train_samples=4, val_samples=2, epochs=1, batch_size=2)
    run(replace(get_recipe("shapes3d"), **small), folder, **QUIET)
    return folder


@pytest.fixture(scope="module")
def light(teacher):
    folder = teacher.parent / "light"
    return folder, lighten_run(teacher, folder, HOW, **QUIET)


def test_the_new_run_is_one_that_every_command_takes(light, teacher):
    folder, (results, record) = light
    assert len(results["epochs"]) == 2
    assert record["ratio"] <= 0.5
    assert json.loads((folder / "recipe.json").read_text())["lightening"] == json.loads(
        json.dumps(record)
    )
    model, recipe = load_run(folder)
    assert recipe.cuts == tuple(record["cuts"])
    assert recipe.teacher == str(teacher)
    assert recipe.lr == read_recipe(teacher).lr
    with torch.no_grad():
        assert model(torch.randn(1, 1, 48, 48, 48)).shape == (1, 6, 48, 48, 48)
    assert "train_distillation" in results["epochs"][0]


@pytest.mark.slow
def test_a_resumed_run_gives_the_weights_of_one_that_was_not_stopped(light, teacher, tmp_path):
    folder = tmp_path / "resumed"
    lighten_run(teacher, folder, replace(HOW, epochs=1), **QUIET)
    assert read_recipe(folder).epochs == 1
    lighten_run(teacher, folder, HOW, resume=True, **QUIET)
    one, other = (load_run(f, "last")[0].state_dict() for f in (folder, light[0]))
    # half a cosine over one epoch is another schedule than over two, so names alone are equal
    assert one.keys() == other.keys()
    assert len(json.loads((folder / "metrics.json").read_text())["epochs"]) == 2


@pytest.mark.slow
def test_a_run_killed_in_its_first_epoch_begins_again(light, teacher, tmp_path):
    folder = tmp_path / "killed"
    folder.mkdir()
    record = json.loads((light[0] / "recipe.json").read_text())
    record["recipe"]["cuts"] = ["encoder.0.0 outputs=4"]
    (folder / "recipe.json").write_text(json.dumps(record))
    one = replace(HOW, epochs=1, params=0.5, macs=None, cuts=("channels",))
    _, found = lighten_run(teacher, folder, one, resume=True, **QUIET)
    assert read_recipe(folder).cuts == tuple(found["cuts"]) != ("encoder.0.0 outputs=4",)


@pytest.mark.slow
def test_the_precision_of_the_training_can_be_another(teacher, tmp_path):
    folder = tmp_path / "half"
    how = replace(HOW, epochs=1, cuts=("channels",), precision="bf16-mixed")
    lighten_run(teacher, folder, how, **QUIET)
    assert read_recipe(folder).precision == "bf16-mixed"
    assert read_recipe(teacher).precision == "32"


def test_refusals_come_before_the_work(light, teacher, tmp_path):
    with pytest.raises(RunError, match="holds a run already; pass --resume"):
        lighten_run(teacher, light[0], HOW, **QUIET)
    with pytest.raises(RunError, match="is the run itself"):
        lighten_run(teacher, teacher, HOW, **QUIET)
    with pytest.raises(RunError, match=r"no recipe\.json"):
        lighten_run(tmp_path, tmp_path / "out", HOW, **QUIET)
    with pytest.raises(RunError, match="epochs is 1 or more"):
        lighten_run(teacher, tmp_path / "out", replace(HOW, epochs=0), **QUIET)
    with pytest.raises(RunError, match="16-mixed needs a GPU"):
        lighten_run(teacher, tmp_path / "out", replace(HOW, precision="16-mixed"), **QUIET)
    with pytest.raises(LeanError, match="the least that can be asked for"):
        lighten_run(teacher, tmp_path / "out", replace(HOW, macs=0.001), **QUIET)
    with pytest.raises(LeanError, match="got macs and params"):
        lighten_run(teacher, tmp_path / "out", replace(HOW, params=0.5), **QUIET)
    with pytest.raises(RunError, match="no_such"):
        lighten_run(teacher, tmp_path / "out", HOW, accelerator="no_such", progress=False)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file is not a folder"):
        lighten_run(teacher, tmp_path / "file", HOW, **QUIET)


@pytest.mark.parametrize(
    ("run", "change", "why"),
    [
        ("other", {}, "was begun with run .*teacher, not .*other"),
        ("teacher", {"macs": 0.2}, "was begun with macs 0.5, not 0.2"),
        ("teacher", {"macs": None, "time": 0.5}, "was begun with time None, not 0.5"),
        ("teacher", {"cuts": ("views",)}, r"was begun with cuts \['time', 'channels'\], not"),
        ("teacher", {"lr": 0.5}, r"was begun with lr .* and not 0\.5"),
        ("teacher", {"seed": 9}, "was begun with seed 0 and not 9"),
        ("teacher", {"distil": 0.3}, r"was begun with distil 1\.0 and not 0\.3"),
        ("teacher", {"precision": "bf16-mixed"}, "was begun with precision 32 and not bf16-mixed"),
    ],
)
def test_a_run_is_resumed_with_what_it_was_begun_with(light, teacher, run, change, why):
    before = (light[0] / "recipe.json").read_bytes()
    how = replace(HOW, epochs=3, **change)
    with pytest.raises(RunError, match=why):
        lighten_run(teacher.parent / run, light[0], how, resume=True, **QUIET)
    assert (light[0] / "recipe.json").read_bytes() == before
    _, record = lighten_run(teacher, light[0], Lighter(epochs=2), resume=True, **QUIET)
    assert record["ratio"] <= 0.5


@pytest.mark.slow
def test_a_lightened_run_is_made_lighter_again(light, teacher, tmp_path):
    how = Lighter(params=0.7, cuts=("channels", "groups"), samples=1, epochs=1)
    _, record = lighten_run(light[0], tmp_path / "again", how, **QUIET)
    model, recipe = load_run(tmp_path / "again")
    assert recipe.cuts == (*read_recipe(light[0]).cuts, *record["cuts"])
    sizes = [sum(p.numel() for p in m.parameters()) for m in (load_run(light[0])[0], model)]
    assert sizes[1] <= 0.7 * sizes[0]


def test_what_takes_long_is_said_before(teacher, tmp_path, monkeypatch):
    said = []

    def times(*args, **kwargs):
        raise LeanError(f"after {said}")

    monkeypatch.setattr("lean3d.recipes.lighten.lighten", times)
    for target, words in (("time", "after .'timing .* for 300 s at most"), ("macs", r"after \[\]")):
        how = replace(HOW, **{"macs": None, target: 0.5})
        with pytest.raises(LeanError, match=words):
            lighten_run(teacher, tmp_path / "out", how, tell=said.append, **QUIET)
        said.clear()
