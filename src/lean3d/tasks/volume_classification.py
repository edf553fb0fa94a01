"""Classify whole volumes: two classes, several, or several in an order.

Source of the ordered classes: Frank and Hall, A Simple Approach to Ordinal Classification, ECML
2001: one output for each threshold between two classes.

Axes: B batch, K classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import RunError, ShapeError
from lean3d.metrics import class_scores
from lean3d.metrics.outputs import class_probabilities
from lean3d.processes import gathered, pooled_mean
from lean3d.tasks.learner import Learner, check_classes

__all__ = ["VolumeClassification"]


class VolumeClassification(Learner):
    """A classifier of volumes with weighted cross-entropy.

    Logs train_loss, val_loss, val_auc (the score), val_accuracy, val_balanced_accuracy,
    val_average_precision and, of ordered classes, val_kappa (see `lean3d.metrics.class_scores`).

    Args:
        model: (B, C, D, H, W) -> (B, num_classes); with `ordinal`, (B, num_classes - 1).
        weights: Of the classes in the loss; all equal by default.
        ordinal: Classes have an order; learn whether each is exceeded.
    """

    monitor = "val_auc"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        *,
        class_names: Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        ordinal: bool = False,
        **learning: Any,
    ):
        super().__init__(model, **learning)
        names = list(class_names or map(str, range(num_classes)))
        check_classes(self, num_classes, names)
        if weights is not None and (len(weights) != num_classes or min(weights) <= 0):
            raise RunError(f"weights has {num_classes} numbers above 0, got {list(weights)}")
        self.num_classes, self.class_names, self.ordinal = num_classes, names, ordinal
        self.weights = [float(weight) for weight in weights or [1.0] * num_classes]

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        loss = self._loss(self._logits(batch), batch[1])
        self.log_training("train_loss", loss, len(batch[1]))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        logits, label_B = self._logits(batch), batch[1]
        self.validated(self._loss(logits, label_B), len(label_B))
        self.found.append((class_probabilities(logits, self.ordinal).cpu(), label_B.cpu()))

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.found: list[tuple[Tensor, Tensor]] = []

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        found = [one for share in gathered(self.found) for one in share]
        prob_NK, label_N = (torch.cat(part) for part in zip(*found, strict=True))
        scores = class_scores(prob_NK, label_N)
        if not self.ordinal:
            del scores["kappa"]
        for name, value in scores.items():
            self.log(f"val_{name}", value, prog_bar=name == "auc")

    def _loss(self, logits: Tensor, label_B: Tensor) -> Tensor:
        weights_K = torch.tensor(self.weights, device=logits.device)
        weight_B = weights_K[label_B]
        if not self.ordinal:
            loss_B = F.cross_entropy(logits.float(), label_B, weights_K, reduction="none")
            return pooled_mean(loss_B.sum(), weight_B.sum())
        above = label_B[:, None] > torch.arange(self.num_classes - 1, device=logits.device)
        loss_BK = F.binary_cross_entropy_with_logits(
            logits.float(), above.float(), reduction="none"
        )
        return pooled_mean((loss_BK.mean(1) * weight_B).sum(), weight_B.sum())

    def _logits(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        logits = self(batch[0])
        expected = (len(batch[1]), self.num_classes - self.ordinal)
        if tuple(logits.shape) != expected:
            raise ShapeError(
                f"VolumeClassification expects outputs {expected}, got {tuple(logits.shape)}"
            )
        return logits
