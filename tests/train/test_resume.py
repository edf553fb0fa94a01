"""A run killed at any moment resumes to what it would have been."""

import csv
import json
import shutil

import pytest
import torch
from killed_run import EPOCHS, samples, task, train
from snapshots import Snapshots
from torch.utils.data import DataLoader

from lean3d.errors import LeanError
from lean3d.signals import Stopped
from lean3d.tasks.segmentation import Segmentation
from lean3d.train.checkpoints import load_checkpoint
from lean3d.train.fit import fit
from lean3d.train.history import History

SECONDS = {"seconds", "train_seconds", "peak_memory_mib"}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_epoch")
    train(folder, epochs=1)
    return folder


class Impatient(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """Of one epoch, so that the rate falls within a short run."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs | {"patience": 0, "threshold": 0.5})


def outcome(folder):
    """All that a run leaves, less what depends on the clock."""
    with (folder / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in SECONDS} for row in csv.DictReader(file)]
    told = json.loads((folder / "metrics.json").read_text())
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return rows, [told[k] for k in ("finished", "best_epoch", "monitor")], names


def stored(folder, name):
    checkpoint = load_checkpoint(folder / "checkpoints" / f"{name}.ckpt")
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    return {part: checkpoint[part] for part in parts if part in checkpoint}


def same(left, right):
    if torch.is_tensor(left):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(v, right[k]) for k, v in left.items())
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def assert_same_run(folder, whole):
    assert outcome(folder) == outcome(whole)
    for name in ("best", "last"):
        assert same(stored(folder, name), stored(whole, name)), name


class Flat(Segmentation):
    """Its score is the same in every epoch."""

    monitor = "flat"

    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        self.log("flat", 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learning", "settings"),
    [
        (dict(schedule="plateau"), {}),
        (dict(schedule="cosine", warmup=5), {}),
        (dict(schedule="constant", learner=Flat), dict(patience=2, epochs=9)),
    ],
    ids=["plateau", "cosine with warm-up", "early stop"],
)
def test_whatever_a_kill_leaves_resumes_to_the_run_that_was_never_stopped(
    tmp_path, monkeypatch, learning, settings
):
    monkeypatch.setattr(torch.optim.lr_scheduler, "ReduceLROnPlateau", Impatient)
    whole = tmp_path / "whole"
    with pytest.MonkeyPatch.context() as patch, Snapshots(whole, tmp_path, patch) as taken:
        train(whole, learning=learning, **settings)
    assert len(taken.states) > 20
    for state in [*taken.states[::6], taken.states[-1]]:
        train(state, learning=learning, resume=True, **settings)
        assert_same_run(state, whole)
    if learning["schedule"] == "plateau":
        assert stored(whole, "last")["optimizer_states"][0]["param_groups"][0]["lr"] < 0.01
    if "patience" in settings:
        assert len(outcome(whole)[0]) == 3


def test_a_plateau_of_a_users_own_task_is_stepped_once_an_epoch(tmp_path):
    class Own(Flat):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 1.0)
            every = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
            return [optimizer], [{"scheduler": every, "monitor": "flat"}]

    train(tmp_path, learning=dict(learner=Own), epochs=4)
    assert stored(tmp_path, "last")["lr_schedulers"][0]["last_epoch"] == 4
    assert stored(tmp_path, "last")["optimizer_states"][0]["param_groups"][0]["lr"] == 1 / 8


@pytest.mark.slow
def test_a_run_that_stopped_early_goes_on_with_more_patience(tmp_path):
    def epochs(**settings):
        return len(train(tmp_path, learning=dict(learner=Flat), epochs=5, **settings)[1]["epochs"])

    assert epochs(patience=1) == 2
    assert epochs(patience=3, resume=True) == 4
    assert epochs(resume=True) == 5


def test_of_epochs_with_the_same_score_the_best_has_the_lowest_loss(tmp_path):
    history = History(tmp_path, "val_dice")
    scores = [(0.5, 0.9), (0.7, 0.4), (0.7, 0.2), (0.7, 0.2), (0.7, float("nan")), (0.6, 0.1)]
    history.rows = [
        {"epoch": n, "val_dice": score, "val_loss": loss, "train_loss": 0.0}
        for n, (score, loss) in enumerate(scores, 1)
    ]
    assert history.best()["epoch"] == 3
    # of a score that is no better the patience ends, whatever its loss
    assert history.waited() == 4


def test_a_score_that_is_never_a_number_is_never_better(tmp_path):
    history = History(tmp_path, "val_dice")
    history.rows = [{"epoch": n, "val_dice": float("nan"), "train_loss": 1.0} for n in (1, 2)]
    assert history.waited() == 2


@pytest.mark.slow
def test_metrics_say_that_a_resumed_run_is_not_finished(tmp_path, monkeypatch):
    train(tmp_path, epochs=1)

    def stop(*args):
        raise Stopped(15)

    monkeypatch.setattr(Segmentation, "training_step", stop)
    with pytest.raises(Stopped):
        train(tmp_path, resume=True)
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert (told["finished"], len(told["epochs"])) == (False, 1)


def bytes_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without(name):
    def damage(path):
        checkpoint = torch.load(path, weights_only=True)
        del checkpoint[name]
        torch.save(checkpoint, path)

    return damage


def plain_weights(path):
    torch.save(torch.load(path, weights_only=True)["state_dict"], path)


def a_number(path):
    torch.save(3, path)


def other_optimizer(path):
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["optimizer_states"] = [{"state": {}, "param_groups": []}]
    torch.save(checkpoint, path)


def no_rows(path):
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["callbacks"]["History"]["rows"] = []
    torch.save(checkpoint, path)


def cut(path):
    path.write_bytes(path.read_bytes()[:3000])


def changed(*place, to):
    """Damage that sets one value inside; `to` makes it from the one that is there."""

    def damage(path):
        inside = checkpoint = torch.load(path, weights_only=True)
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = to(inside[place[-1]])
        torch.save(checkpoint, path)

    return damage


WEIGHT = "model.0.weight"
MOMENT = ("optimizer_states", 0, "state", 0, "exp_avg")
GROUP = ("optimizer_states", 0, "param_groups", 0)
ROW = ("callbacks", "History", "rows", 0)
COUNTS = ("loops", "fit_loop", "epoch_progress", "current")
BATCHES = ("loops", "fit_loop", "epoch_loop.batch_progress")
# what the trainer restores without a word, and fails on in a later step, or never
CHANGED = {
    "a number for a moment": changed(*MOMENT, to=lambda x: -1),
    "a moment without values": changed(*MOMENT, to=lambda x: x.to("meta")),
    "a moment of another shape": changed(*MOMENT, to=lambda x: x[:1]),
    "an infinite moment": changed(*MOMENT, to=lambda x: x + torch.inf),
    "no moments": changed(*MOMENT[:-1], to=lambda x: {}),
    "steps of each value": changed(*MOMENT[:-1], "step", to=lambda x: torch.zeros(3)),
    "a rate in words": changed(*GROUP, "lr", to=lambda x: "fast"),
    "a rate that is no number": changed(*GROUP, "lr", to=lambda x: float("nan")),
    "a single beta": changed(*GROUP, "betas", to=lambda x: (0.9,)),
    "a base rate for all": changed("lr_schedulers", 0, "base_lrs", to=lambda x: 1.0),
    "a schedule before its start": changed("lr_schedulers", 0, "last_epoch", to=lambda x: -7),
    "an epoch in words": changed(*COUNTS, "ready", to=lambda x: "1"),
    "epochs beyond 64 bits": changed(*COUNTS, "processed", to=lambda x: 10**30),
    "epochs that were not": changed(*COUNTS, "processed", to=lambda x: 3),
    "a last batch of 3": changed(*BATCHES, "is_last_batch", to=lambda x: 3),
    "weights without values": changed("state_dict", WEIGHT, to=lambda x: x.to("meta")),
    "weights that are no numbers": changed("state_dict", WEIGHT, to=lambda x: x * float("nan")),
    "sparse weights": changed("state_dict", WEIGHT, to=lambda x: x.to_sparse()),
    "a row of another epoch": changed(*ROW, "epoch", to=lambda x: 2),
    "seconds in words": changed(*ROW, "seconds", to=lambda x: "1"),
    "a loss that is a tensor": changed(*ROW, "train_loss", to=lambda x: torch.zeros(2)),
    "a record that is a list": changed("callbacks", "History", "record", to=lambda x: []),
}


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        plain_weights,
        a_number,
        other_optimizer,
        no_rows,
        *map(without, ("state_dict", "callbacks", "optimizer_states", "lr_schedulers", "loops")),
        *(pytest.param(damage, id=name) for name, damage in CHANGED.items()),
    ],
)
def test_a_refused_resume_changes_nothing(one_epoch, tmp_path, damage):
    shutil.copytree(one_epoch, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "checkpoints" / "last.ckpt")
    before, called = bytes_of(tmp_path), []
    with pytest.raises(LeanError, match=r"last\.ckpt") as refused:
        train(tmp_path, resume=True, begin=lambda: called.append(1))
    assert (bytes_of(tmp_path), called) == (before, [])
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def diverge(self, *args):
    return torch.tensor(float("nan"), requires_grad=True)


def misfit(self, *args):
    raise LeanError("the model does not fit")


@pytest.mark.parametrize("step", [diverge, misfit])
def test_a_run_that_fails_in_its_first_epoch_leaves_nothing(tmp_path, monkeypatch, step):
    def log_and(self, *args):
        loss = step(self, *args)
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    monkeypatch.setattr(Segmentation, "training_step", log_and)
    with pytest.raises(LeanError):
        train(tmp_path / "a" / "run")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("of the user")
    with pytest.raises(LeanError):
        train(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_the_number_of_workers_changes_no_weight(tmp_path):
    def run(folder, workers, epochs, resume=False):
        loaders = (
            DataLoader(samples(), 4, shuffle=True, num_workers=workers),
            DataLoader(samples(), 4, num_workers=workers),
        )
        settings = dict(seed=7, accelerator="cpu", progress=False, resume=resume)
        fit(task(schedule="constant"), *loaders, folder, epochs=epochs, **settings)

    run(tmp_path / "whole", 0, EPOCHS)
    run(tmp_path / "parts", 2, 2)
    run(tmp_path / "parts", 1, EPOCHS, resume=True)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
