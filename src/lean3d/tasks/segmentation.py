"""Classify every pixel, or voxel.

Axes: B batch, C channels, K classes, then D H W for volumes or H W for images.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lean3d.errors import ShapeError
from lean3d.metrics import confusion_counts, dice_of_counts
from lean3d.tasks.learner import Learner, check_classes
from lean3d.tasks.losses import Loss, segmentation_loss

__all__ = ["Segmentation"]


class Segmentation(Learner):
    """A segmentation model with its loss, optimizer and Dice.

    Logs train_loss, val_loss, val_dice_<class> and val_dice. Dice is 2TP / (2TP + FP + FN) over all
    voxels of the epoch; val_dice is the mean over the foreground classes that occur.

    Args:
        model: (B, C, ...) -> (B, num_classes, ...), for images or volumes.
        class_names: Names of all classes, class 0 first; used in the names of the metrics.
        background: Count class 0 in the Dice loss.
        learning: Optimizer, schedule and layout, as `Learner` takes them.
    """

    monitor = "val_dice"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        *,
        class_names: Sequence[str] | None = None,
        loss: Loss = "dice_ce",
        background: bool = True,
        **learning: Any,
    ):
        super().__init__(model, **learning)
        names = list(class_names or map(str, range(num_classes)))
        check_classes(self, num_classes, names, ", background included")
        self.num_classes, self.class_names = num_classes, names
        self.loss = segmentation_loss(loss, background=background)

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

    def on_validation_epoch_end(self) -> None:
        # nan for a class that neither occurs nor is predicted; the mean skips it
        dice_K = dice_of_counts(self.counts_KK).float()
        for name, dice in zip(self.class_names[1:], dice_K[1:], strict=True):
            self.log(f"val_dice_{name}", dice)
        self.log("val_dice", dice_K[1:].nanmean(), prog_bar=True)

    def _logits(self, x: Tensor, label: Tensor) -> Tensor:
        logits = self(x)
        expected = (len(x), self.num_classes, *label.shape[1:])
        if tuple(logits.shape) != expected:
            raise ShapeError(
                f"Segmentation expects logits {expected} for labels {tuple(label.shape)}, "
                f"got {tuple(logits.shape)}; the model must keep the size, one channel a class"
            )
        return logits
