"""Classify every pixel, or voxel.

Axes: B batch, C channels, K classes, R scored classes or regions, then D H W for volumes or H W for
images; N cases.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.data import Masks, Regions
from lean3d.errors import RunError, ShapeError
from lean3d.metrics import confusion_counts
from lean3d.processes import gathered
from lean3d.tasks.deep_supervision import DeepSupervision
from lean3d.tasks.learner import Learner, check_classes
from lean3d.tasks.losses import Loss, segmentation_loss

__all__ = ["Segmentation", "Whole"]

# of a model and a case (C, ...): probabilities (K, ...), on the CPU
Whole = Callable[[nn.Module, Tensor], Tensor]


class Segmentation(Learner):
    """A segmentation model with its loss, optimizer and Dice.

    Logs train_loss, val_loss, val_dice_<class> and val_dice. Of samples, Dice is 2TP / (2TP + FP +
    FN) over all voxels of the epoch, and val_dice the mean over the foreground classes that occur.
    Of whole cases it is the mean over cases, and val_dice the mean over cases of the mean over
    classes, as `lean3d evaluate` reports them.

    Args:
        model: (B, C, ...) -> (B, num_classes, ...), for images or volumes; with regions, one output
            a region.
        class_names: Names of all classes, class 0 first; used in the names of the metrics.
        background: Count class 0 in the Dice loss.
        weights: Of the classes, or regions, in the loss; all equal by default.
        regions: Learn these, or masks, with a sigmoid each, instead of classes with a softmax.
        whole: Predicts a whole case; validation batches are then single cases of any size.
        deep: Heads on coarser maps of the model, which are learnt too, in training.
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
        weights: Sequence[float] | None = None,
        regions: Regions | Masks | None = None,
        whole: Whole | None = None,
        deep: DeepSupervision | None = None,
        **learning: Any,
    ):
        super().__init__(model, **learning)
        self.deep = deep
        names = list(class_names or map(str, range(num_classes)))
        check_classes(self, num_classes, names, ", background included")
        self.num_classes, self.class_names = num_classes, names
        self.regions, self.whole = regions, whole
        self.num_outputs = num_classes if regions is None else len(regions.names)
        self.scored_names = names[1:] if regions is None else list(regions.names)
        if weights is not None and (len(weights) != self.num_outputs or min(weights) <= 0):
            raise RunError(f"weights has {self.num_outputs} numbers above 0, got {list(weights)}")
        self._loss = segmentation_loss(
            loss,
            background=background,
            activation="softmax" if regions is None else "sigmoid",
            weights=weights,
        )

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the loss of logits (B, K, ...) against classes (B, ...)."""
        target = label if self.regions is None else self.regions.targets(label)
        return self._loss(logits, target)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, label = batch
        loss = self.deep_loss(x, label)
        self.log_training("train_loss", loss, len(x))
        return loss

    def deep_loss(self, x: Tensor, label: Tensor) -> Tensor:
        """Return the loss of a batch, with that of coarser maps if they are learnt too."""
        if self.deep is None:
            return self.loss(self._logits(x, label), label)
        with self.deep.watching(self.model) as coarser:
            logits = self._logits(x, label)
        return self.deep.loss(self.loss, [logits, *coarser], label)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        x, label = batch
        if self.whole is None:
            logits = self._logits(x, label)
        else:
            logits, label = self._case(x, label)
        self.validated(self.loss(logits, label).to(self.device), len(x))
        self.overlaps.append(self._overlap(logits, label).cpu())

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        # of each batch: twice the voxels in both maps, and those of each
        self.overlaps: list[Tensor] = []

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        # in the order of the batches, of which each process takes the next
        shares = gathered(self.overlaps)
        overlaps = [one for turn in zip_longest(*shares) for one in turn if one is not None]
        overlaps_N2R = torch.stack(overlaps).double()
        if self.whole is None:
            overlaps_N2R = overlaps_N2R.sum(0, keepdim=True)
        # nan for a class that neither occurs nor is predicted; the means skip it
        dice_NR = (overlaps_N2R[:, 0] / overlaps_N2R[:, 1]).float()
        for name, dice in zip(self.scored_names, dice_NR.nanmean(0), strict=True):
            self.log(f"val_dice_{name}", dice)
        self.log("val_dice", dice_NR.nanmean(1).nanmean(), prog_bar=True)

    def learnt(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from super().learnt()
        if self.deep is not None:
            yield from self.deep.named_parameters(prefix="deep")

    def units(self) -> list[nn.Module]:
        return [*super().units(), *(self.deep.heads if self.deep is not None else ())]

    def _overlap(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return twice the voxels in both maps, and the sum of those in each, (2, R)."""
        if self.regions is None:
            counts_KK = confusion_counts(logits.argmax(1), label, self.num_classes)
            both, each = counts_KK.diagonal()[1:], (counts_KK.sum(0) + counts_KK.sum(1))[1:]
            return torch.stack([2 * both, each])
        # as a mask holds them: a voxel of an inner region is in the outer ones
        mask = self.regions.mask(logits.sigmoid().movedim(1, 0))
        pred, true = self.regions.targets(mask), self.regions.targets(label)
        axes = [axis for axis in range(pred.ndim) if axis != 1]
        both = (pred & true).sum(axes)
        return torch.stack([2 * both, pred.sum(axes) + true.sum(axes)])

    def _case(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of a whole case, from its probabilities, and its labels, on the CPU."""
        assert self.whole is not None
        found = self.whole(self.model, x[0]).unsqueeze(0)
        logits = found.clamp_min(1e-7).log() if self.regions is None else found.logit(1e-6)
        return logits, label.to(found.device)

    def _logits(self, x: Tensor, label: Tensor) -> Tensor:
        logits = self(x)
        expected = (len(x), self.num_outputs, *label.shape[1:])
        if tuple(logits.shape) != expected:
            raise ShapeError(
                f"Segmentation expects logits {expected} for labels {tuple(label.shape)}, "
                f"got {tuple(logits.shape)}; the model must keep the size, one channel a class"
            )
        return logits
