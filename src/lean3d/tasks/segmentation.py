"""Learn to give every pixel, or voxel, a class.

Axes: B batch, C channels, K classes, then D H W for volumes or H W for images.
"""

import math
from collections.abc import Sequence
from typing import Literal

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lean3d.errors import RunError, ShapeError
from lean3d.metrics import confusion_counts, dice_of_counts
from lean3d.tasks.layout import channels_last, channels_last_
from lean3d.tasks.losses import Loss, segmentation_loss

__all__ = ["Segmentation"]

Optimizer = Literal["adam", "sgd"]
Schedule = Literal["constant", "cosine"]


class Segmentation(pl.LightningModule):
    """A segmentation model with its loss, optimizer and Dice.

    Logs train_loss, val_loss, val_dice_<class> and val_dice. Dice is 2TP / (2TP + FP + FN) over all
    voxels of the epoch; val_dice is the mean over the foreground classes that occur.

    Args:
        model: (B, C, ...) -> (B, num_classes, ...), for images or volumes.
        class_names: Names of all classes, class 0 first; used in the names of the metrics.
        background: Count class 0 in the Dice loss.
        momentum: Of sgd only.
        schedule: Of the learning rate: constant, or along half a cosine to 0 at the last epoch.
        channels_last: Keep kernels and inputs channels last in memory.
    """

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        *,
        class_names: Sequence[str] | None = None,
        loss: Loss = "dice_ce",
        background: bool = True,
        optimizer: Optimizer = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        schedule: Schedule = "constant",
        channels_last: bool = False,
    ):
        super().__init__()
        names = list(class_names or map(str, range(num_classes)))
        _check(num_classes, names, optimizer)
        if schedule not in ("constant", "cosine"):
            raise RunError(f"no schedule called {schedule!r}; there are constant and cosine")
        self.model = channels_last_(model) if channels_last else model
        self.num_classes, self.class_names = num_classes, names
        self.loss = segmentation_loss(loss, background=background)
        self.optimizer, self.lr = optimizer, lr
        self.weight_decay, self.momentum = weight_decay, momentum
        self.schedule, self.channels_last = schedule, channels_last
        self.counts_KK = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(channels_last(x) if self.channels_last else x)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, label = batch
        loss = self.loss(self._logits(x, label), label)
        self.log("train_loss", loss, prog_bar=True, on_epoch=True, on_step=False, batch_size=len(x))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        x, label = batch
        logits = self._logits(x, label)
        self.log("val_loss", self.loss(logits, label), prog_bar=True, batch_size=len(x))
        self.counts_KK += confusion_counts(logits.argmax(1), label, self.num_classes)

    def on_validation_epoch_start(self) -> None:
        shape = (self.num_classes, self.num_classes)
        self.counts_KK = torch.zeros(shape, dtype=torch.int64, device=self.device)

    def on_validation_epoch_end(self) -> None:
        # nan for a class that neither occurs nor is predicted; it is no part of the mean
        dice_K = dice_of_counts(self.counts_KK).float()
        for name, dice in zip(self.class_names[1:], dice_K[1:], strict=True):
            self.log(f"val_dice_{name}", dice)
        self.log("val_dice", dice_K[1:].nanmean(), prog_bar=True)

    def configure_optimizers(self):
        optimizer = self._optimizer()
        if self.schedule == "constant":
            return optimizer
        # asks for the length each epoch, so that a run resumed for longer has one curve
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self._share)]

    def _optimizer(self) -> torch.optim.Optimizer:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        if self.optimizer == "adam":
            return torch.optim.Adam(trained, self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(trained, self.lr, self.momentum, weight_decay=self.weight_decay)

    def _share(self, epoch: int) -> float:
        return (1 + math.cos(math.pi * epoch / (self.trainer.max_epochs or 1))) / 2

    def _logits(self, x: Tensor, label: Tensor) -> Tensor:
        logits = self(x)
        expected = (len(x), self.num_classes, *label.shape[1:])
        if tuple(logits.shape) != expected:
            raise ShapeError(
                f"Segmentation expects logits {expected} for labels {tuple(label.shape)}, "
                f"got {tuple(logits.shape)}; the model must keep the size, one channel a class"
            )
        return logits


def _check(num_classes: int, names: list[str], optimizer: str) -> None:
    if num_classes < 2:
        raise RunError(
            f"Segmentation needs num_classes >= 2, background included, got {num_classes}"
        )
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise RunError(f"Segmentation needs {num_classes} different class names, got {names}")
    if optimizer not in ("adam", "sgd"):
        raise RunError(f"no optimizer called {optimizer!r}; there are adam and sgd")
