"""Validation every few epochs, and what a run without a score of its own does."""

import csv
import math

import torch
from killed_run import train

from lean3d.train.checkpoints import load_checkpoint


def test_epochs_between_have_no_score_and_the_last_one_has(tmp_path):
    _, results = train(tmp_path, val_every=3, epochs=5)
    scores = [row["val_dice"] for row in results["epochs"]]
    assert [score is None for score in scores] == [True, True, False, True, False]
    assert results["best_epoch"] in (3, 5)
    assert results["best_val_dice"] == max(score for score in scores if score is not None)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [math.isnan(float(row["val_dice"])) for row in rows] == [s is None for s in scores]
    assert all(float(row["train_loss"]) > 0 for row in rows)


def test_the_best_weights_are_those_of_a_validated_epoch(tmp_path):
    model, results = train(tmp_path, val_every=4, epochs=4)
    assert results["best_epoch"] == 4
    best = load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["state_dict"]
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())


def test_validation_does_not_change_what_is_learnt(tmp_path):
    often, _ = train(tmp_path / "often", epochs=4)
    seldom, _ = train(tmp_path / "seldom", epochs=4, val_every=2)
    weights = seldom.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in often.state_dict().items())


def test_a_run_resumes_between_two_validations(tmp_path):
    every = dict(val_every=2, learning=dict(schedule="constant"))
    whole, _ = train(tmp_path / "whole", epochs=6, **every)
    train(tmp_path / "cut", epochs=3, **every)
    model, results = train(tmp_path / "cut", epochs=6, resume=True, **every)
    weights = whole.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    # the third was the last epoch of the first session
    validated = [row["epoch"] for row in results["epochs"] if row["val_dice"] is not None]
    assert validated == [2, 3, 4, 6]


def test_a_plateau_waits_for_a_score(tmp_path, monkeypatch):
    class Impatient(torch.optim.lr_scheduler.ReduceLROnPlateau):
        steps = 0

        def step(self, *arguments):
            type(self).steps += 1
            super().step(*arguments)

    monkeypatch.setattr(torch.optim.lr_scheduler, "ReduceLROnPlateau", Impatient)
    train(tmp_path, learning=dict(schedule="plateau"), epochs=5, val_every=2)
    assert Impatient.steps == 3
