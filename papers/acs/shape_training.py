"""Train a UNet on shapes: as the paper does, or until its validation Dice is flat.

Both with Adam, rate 0.001 and batches of 4; the weights of the best epoch on validation volumes
count. The paper trains 50 epochs at one rate. Until flat: once the best validation Dice has not
risen by 0.002 for SLOWER epochs the rate becomes a tenth, once only; after STOP such epochs
training ends.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader

from lean3d.data.samples import Samples
from lean3d.metrics import confusion_counts, dice_of_counts, iou_of_counts
from lean3d.tasks.segmentation import Segmentation
from lean3d.train.fit import Precision
from papers.trained import train

__all__ = ["RISE", "SLOWER", "STOP", "fixed", "score", "train_flat", "until_flat"]

RISE, SLOWER, STOP = 0.002, 8, 14
# the running statistics of batch norm follow faster than by torch's 0.1: a network that changes
# quickly is else scored by what it was ten steps before (ACS, epoch 25: Dice 0.22, not 0.56)
MOMENTUM = 0.5
PRECISION: Precision = "bf16-mixed"
SETTINGS: dict[str, Any] = dict(loss="dice", lr=1e-3)
BATCH, FLAT_BATCH = 4, 32


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
    model: nn.Module,
    samples: Samples,
    val: Samples,
    folder: Path,
    *,
    seed: int,
    most: int,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train in 3D, or go on, to the best weights; the metrics of every epoch.

    Args:
        most: Epochs after which it ends even where the curve still rises.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = MOMENTUM
    task = UntilFlat(model, **_settings(samples, device))
    sizes: dict[str, Any] = dict(batch_size=BATCH, val_batch=4 * BATCH, precision=PRECISION)
    return train(task, samples, val, folder, seed=seed, epochs=most, device=device, **sizes)


def fixed(
    model: nn.Module,
    samples: Samples,
    val: Samples,
    folder: Path,
    *,
    seed: int,
    epochs: int,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train in 3D as the paper does: so many epochs at one rate, in single precision."""
    task = Segmentation(model, **_settings(samples, device))
    sizes: dict[str, Any] = dict(batch_size=BATCH, val_batch=2 * BATCH)
    return train(task, samples, val, folder, seed=seed, epochs=epochs, device=device, **sizes)


def train_flat(
    model: nn.Module,
    samples: Samples,
    val: Samples,
    folder: Path,
    *,
    seed: int,
    epochs: int,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train in 2D with batches of 32, the rate falling along a cosine; "until convergence"."""
    task = Segmentation(model, **_settings(samples, device), schedule="cosine")
    sizes: dict[str, Any] = dict(batch_size=FLAT_BATCH, val_batch=4 * FLAT_BATCH)
    sizes["precision"] = PRECISION if device == "cpu" else "32"
    return train(task, samples, val, folder, seed=seed, epochs=epochs, device=device, **sizes)


def _settings(samples: Any, device: str) -> dict[str, Any]:
    names: Sequence[str] = samples.names
    more = dict(num_classes=len(names), class_names=names, channels_last=device == "cpu")
    return SETTINGS | more


@torch.inference_mode()
def score(
    model: nn.Module, tests: Any, names: Sequence[str], device: str = "cpu"
) -> dict[str, Any]:
    """Dice and intersection over union, the mean over foreground classes, of all voxels."""
    classes = len(names)
    counts_KK = torch.zeros(classes, classes, dtype=torch.int64)
    model = model.to(device).eval()
    for x, label in DataLoader(tests, 10):
        pred = model(x.to(device)).argmax(1)
        counts_KK += confusion_counts(pred, label.to(device), classes).cpu()
    dice_K, iou_K = dice_of_counts(counts_KK)[1:], iou_of_counts(counts_KK)[1:]
    return {
        "dice": round(float(dice_K.nanmean()), 4),
        "iou": round(float(iou_K.nanmean()), 4),
        "by class": dict(zip(names[1:], dice_K.tolist(), strict=True)),
    }
