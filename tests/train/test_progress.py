import types

import torch

from lean3d.train.progress import QUIET_S, EpochLines


def trainer(**more):
    scores = {"train_loss": torch.tensor(0.25)}
    given = dict(current_epoch=2, max_epochs=10, num_training_batches=100, num_val_batches=[20])
    given |= dict(check_val_every_n_epoch=1, callback_metrics=scores)
    return types.SimpleNamespace(**given | more)


def test_a_long_epoch_says_how_far_it_is_every_half_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines, running = EpochLines(), trainer()
    for step in range(100):
        now[0] += 1.0
        lines.on_train_batch_end(running, None, {"loss": torch.tensor(0.5)}, None, step)
    for case in range(20):
        now[0] += 1.0
        lines.on_validation_batch_end(running, None, None, None, case)
    lines.on_train_epoch_end(running, None)
    assert capsys.readouterr().err.splitlines() == [
        *(f"epoch 3/10  step {int(QUIET_S) * turn}/100  loss 0.5000" for turn in (1, 2, 3)),
        "epoch 3/10  validation 20/20",
        "epoch 3/10  train_loss 0.2500",
    ]


def test_a_short_epoch_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    lines = EpochLines()
    lines.on_train_batch_end(trainer(), None, {"loss": torch.tensor(0.5)}, None, 0)
    lines.on_train_epoch_end(trainer(), None)
    assert capsys.readouterr().err == "epoch 3/10  train_loss 0.2500\n"
