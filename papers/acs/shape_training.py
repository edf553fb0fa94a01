"""Train a UNet on shapes until its validation Dice is flat, by one rule for all networks.

Adam with rate 0.001 and batches of 4, as in the paper. Once the best validation Dice has not risen
by 0.002 for SLOWER epochs the rate becomes a tenth, once only; after STOP such epochs training
ends. The weights of the best epoch count.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader

from lean3d.data import EpochSampler
from lean3d.data.samples import Samples
from lean3d.metrics import confusion_counts, dice_of_counts, iou_of_counts
from lean3d.tasks.segmentation import Segmentation
from lean3d.train.checkpoints import load_checkpoint
from lean3d.train.fit import Precision, fit

__all__ = ["RISE", "SLOWER", "STOP", "score", "train", "until_flat"]

RISE, SLOWER, STOP = 0.002, 8, 14
# the running statistics of batch norm follow faster than by torch's 0.1: a network that changes
# quickly is else scored by what it was ten steps before (ACS, epoch 25: Dice 0.22, not 0.56)
MOMENTUM = 0.5
PRECISION: Precision = "bf16-mixed"
SETTINGS: dict[str, Any] = dict(loss="dice", lr=1e-3, channels_last=True)


class UntilFlat(Segmentation):
    """Segmentation that lowers its rate, and then ends, by the curve of the validation Dice."""

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), self.lr)
        rule: dict[str, Any] = dict(mode="max", threshold=RISE, threshold_mode="abs", factor=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=SLOWER - 1, min_lr=0.1 * self.lr, **rule
        )
        return [optimizer], [{"scheduler": scheduler, "monitor": self.monitor}]

    def configure_callbacks(self):
        settings: dict[str, Any] = dict(check_finite=False, check_on_train_epoch_end=True)
        return [EarlyStopping(self.monitor, RISE, STOP, mode="max", **settings)]


def until_flat(
    model: nn.Module, samples: Samples, val: Samples, folder: Path, seed: int, most: int
) -> dict[str, Any]:
    """Train in 3D, or go on, to the best weights; the metrics of every epoch.

    Args:
        most: Epochs after which it ends even where the curve still rises.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = MOMENTUM
    task = UntilFlat(model, len(samples.names), class_names=samples.names, **SETTINGS)
    return _fit(task, samples, val, folder, seed, most, batch_size=4)


def train(
    model: nn.Module, samples: Samples, val: Samples, folder: Path, seed: int, epochs: int
) -> dict[str, Any]:
    """Train in 2D with batches of 32, the rate falling along a cosine; "until convergence"."""
    more = SETTINGS | {"schedule": "cosine"}
    task = Segmentation(model, len(samples.names), class_names=samples.names, **more)
    return _fit(task, samples, val, folder, seed, epochs, batch_size=32)


def _fit(
    task: Segmentation,
    samples: Samples,
    val: Samples,
    folder: Path,
    seed: int,
    epochs: int,
    batch_size: int,
) -> dict[str, Any]:
    loader = DataLoader(samples, batch_size, sampler=EpochSampler(len(samples), seed))
    held_out = DataLoader(val, 4 * batch_size)
    settings: dict[str, Any] = dict(epochs=epochs, precision=PRECISION, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    found = fit(task, loader, held_out, folder, **settings, resume=True, progress=False)
    best = load_checkpoint(folder / "checkpoints" / "best.ckpt", task)
    task.load_state_dict(best["state_dict"])
    return found


@torch.inference_mode()
def score(model: nn.Module, tests: Any, names: Sequence[str]) -> dict[str, Any]:
    """Dice and intersection over union, the mean over foreground classes, of all voxels."""
    classes = len(names)
    counts_KK = torch.zeros(classes, classes, dtype=torch.int64)
    for x, label in DataLoader(tests, 10):
        counts_KK += confusion_counts(model.eval()(x).argmax(1), label, classes)
    dice_K, iou_K = dice_of_counts(counts_KK)[1:], iou_of_counts(counts_KK)[1:]
    return {
        "dice": round(float(dice_K.nanmean()), 4),
        "iou": round(float(iou_K.nanmean()), 4),
        "by class": dict(zip(names[1:], dice_K.tolist(), strict=True)),
    }
