"""Losses that weigh classes are those of one batch with the samples of all processes."""

import lightning.pytorch as pl
import pytest
import torch
from test_many_processes import QUIET
from tiny_runs import rows, shapes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lean3d.processes import place
from lean3d.recipes.runs import run
from lean3d.tasks.volume_classification import VolumeClassification
from lean3d.train.quiet import quiet_trainer

# far apart, so that a mean of two means is not that of all
WEIGHTS = 1.0, 20.0, 5.0


@pytest.mark.parametrize("loss", ["ce", "dice_ce"])
def test_class_weights_are_of_the_samples_of_all_processes(tmp_path, forked, loss):
    weighed = dict(loss=loss, class_weights=(1.0, 20.0, 2.0, 9.0, 0.1, 5.0))
    run(shapes(batch_size=4, **weighed), tmp_path / "alone", **QUIET)
    run(shapes(batch_size=2, **weighed), tmp_path / "both", devices=2, **QUIET)
    alone, both = ([row["train_loss"] for row in rows(tmp_path / n)] for n in ("alone", "both"))
    assert both == pytest.approx(alone, abs=1e-5)


def classification():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(1, 3, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    return VolumeClassification(model, 3, weights=WEIGHTS, lr=0.1, optimizer="sgd")


def trained(size, folder):
    """Weights and scores of a task in `size` processes that Lightning starts."""
    x = torch.randn(4, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    task, label_B = classification(), torch.tensor([0, 1, 0, 2])
    settings = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=size,
        # a fork after a backward pass may wait for ever
        strategy="ddp_spawn" if size > 1 else "auto",
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,
    )
    loader = DataLoader(TensorDataset(x, label_B), 4 // size)
    with quiet_trainer():
        trainer.fit(task, loader, loader)
    return task.state_dict(), trainer.callback_metrics


@pytest.mark.slow
def test_a_task_in_a_trainer_of_your_own_learns_and_scores_as_in_one_process(tmp_path):
    weights, scores = trained(1, tmp_path)
    weights_2, scores_2 = trained(2, tmp_path)
    assert place().size == 1
    for name, value in weights.items():
        torch.testing.assert_close(weights_2[name], value, atol=1e-6, rtol=0)
    # the mean of a batch's loss in validation is of that process's own
    for name in ("train_loss", "val_auc", "val_accuracy", "val_balanced_accuracy"):
        torch.testing.assert_close(scores_2[name], scores[name], atol=1e-5, rtol=0)
