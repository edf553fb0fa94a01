"""Runs of every kind of task, killed at any moment and resumed, and folders that are in use."""

import json
import shutil
import threading
from dataclasses import replace

import pytest
import torch
from snapshots import Snapshots

from lean3d.errors import RunError
from lean3d.lock import held
from lean3d.recipes import get_recipe
from lean3d.recipes.runs import load_run, run
from lean3d.signals import Stopped
from lean3d.train import provenance

pytest.importorskip("sklearn")

VIDEO = dict(video=10, clip=8, batch_size=4, val_samples=8, train_samples=8)
DIGITS = replace(
    get_recipe("digits"), **VIDEO, widths=(4, 4, 4, 4), epochs=2, options=("window=4",)
)
TURNS = replace(get_recipe("digits_turns"), **VIDEO, widths=(4, 4), turn=1, epochs=3)
HEAD = replace(
    get_recipe("digits_gru"),
    **VIDEO | {"train_samples": 12},
    widths=(4, 4, 4, 4),
    videos=12,
    epochs=3,
    options=("head=gru", "layers=1", "hidden=6", "dropout=0.3"),
    shortest=4,
    schedule="plateau",
)
SHAPES = replace(
    get_recipe("shapes2d"),
    train_samples=4,
    val_samples=2,
    widths=(4, 6),
    epochs=3,
    batch_size=2,
    schedule="plateau",
)


def trained(recipe, out, **settings):
    return run(recipe, out, accelerator="cpu", progress=False, **settings)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / "run"
    trained(replace(DIGITS, epochs=1), folder)
    return folder


def weights(folder, which):
    return load_run(folder, which)[0].state_dict()


def equal(left, right):
    return all(torch.equal(value, right[name]) for name, value in left.items())


def rows(folder):
    told = json.loads((folder / "metrics.json").read_text())
    clock = {"seconds", "train_seconds", "peak_memory_mib"}
    epochs = [{k: v for k, v in row.items() if k not in clock} for row in told["epochs"]]
    return told["finished"], told["best_epoch"], epochs


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "kind",
    [*(pytest.param(name, marks=slow) for name in ("clips", "turns", "head")), "segmentation"],
)
def test_a_run_of_any_task_killed_at_any_moment_resumes_to_the_same_run(
    first, tmp_path, monkeypatch, kind
):
    recipe = {"clips": DIGITS, "turns": TURNS, "segmentation": SHAPES}.get(kind)
    recipe = recipe or replace(HEAD, start_from=str(first))
    whole = tmp_path / "whole"
    with Snapshots(whole, tmp_path, monkeypatch) as taken:
        trained(recipe, whole)
    # the first ones have no recipe yet
    assert not (taken.states[0] / "recipe.json").exists()
    for state in [*taken.states[:3], *taken.states[3::9], taken.states[-1]]:
        trained(recipe, state, resume=True)
        assert rows(state) == rows(whole)
        assert equal(weights(state, "last"), weights(whole, "last"))
        assert equal(weights(state, "best"), weights(whole, "best"))
        left = sorted(str(path.relative_to(state)) for path in state.rglob("*"))
        assert left == sorted(str(path.relative_to(whole)) for path in whole.rglob("*"))


def test_a_refused_resume_leaves_the_record_as_it_was(first, tmp_path):
    shutil.copytree(first, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    before = (tmp_path / "run" / "recipe.json").read_bytes()
    with pytest.raises(RunError, match="cannot read the checkpoint"):
        trained(DIGITS, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "recipe.json").read_bytes() == before


def test_a_finished_run_that_is_resumed_notes_no_session(first, tmp_path):
    shutil.copytree(first, tmp_path / "run")
    before = (tmp_path / "run" / "recipe.json").read_bytes()
    trained(replace(DIGITS, epochs=1), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "recipe.json").read_bytes() == before


def test_a_resume_that_fails_in_its_first_epoch_gives_the_record_back(tmp_path, monkeypatch):
    def stop(*args):
        raise Stopped(15)

    def fail(*args):
        raise RunError("it does not learn")

    step = "lean3d.tasks.segmentation.Segmentation.training_step"
    monkeypatch.setattr(step, stop)
    with pytest.raises(Stopped):
        trained(SHAPES, tmp_path / "run")
    before = (tmp_path / "run" / "recipe.json").read_bytes()
    monkeypatch.setattr(step, fail)
    with pytest.raises(RunError, match="it does not learn"):
        trained(SHAPES, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "recipe.json").read_bytes() == before


def test_a_model_that_does_not_fit_the_task_leaves_no_folder(tmp_path):
    unet = replace(DIGITS, model="unet3d", widths=(4, 6), options=())
    with pytest.raises(ValueError, match="expects logits"):
        trained(unet, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_before_the_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("lean3d.recipes.training.loaders", None)
    folder = tmp_path / "run"
    folder.mkdir()
    before = []

    def second():
        try:
            trained(SHAPES, folder)
        except RunError as error:
            before.append(str(error))

    with held(folder):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"{folder} is in use by process" in before[0]


def test_a_resume_on_another_number_of_threads_says_that_it_is_not_bit_equal(
    tmp_path, monkeypatch, capsys
):
    now = torch.get_num_threads()
    trained(replace(SHAPES, epochs=1), tmp_path)
    trained(replace(SHAPES, epochs=2), tmp_path, resume=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    trained(SHAPES, tmp_path, resume=True)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"begun with threads {now} and resumed with 64: its weights are no longer bit-" in said
    sessions = json.loads((tmp_path / "recipe.json").read_text())["sessions"]
    assert [session["threads"] for session in sessions] == [now, now, 64]


@pytest.mark.parametrize("name", ["threads", "torch", "hardware"])
def test_what_else_changes_the_order_of_sums_is_said(name):
    session = provenance.provenance()
    assert provenance.other_machine([session, session]) is None
    assert provenance.other_machine([{}, session]) is None
    more = provenance.other_machine([session, session | {"processes": 2}])
    assert "begun with 1 process and resumed with 2: a step takes 2 times" in more
    assert name in provenance.other_machine([session | {name: "other"}, session, session])
