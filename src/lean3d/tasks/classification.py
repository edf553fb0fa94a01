"""Classify every clip, or each of its frames.

Axes: B batch, C channels, T time, H height, W width, K classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from lean3d.errors import RunError, ShapeError
from lean3d.metrics import confusion_counts
from lean3d.metrics.outputs import Scoring, clip_scores
from lean3d.processes import total
from lean3d.tasks.learner import Learner, check_classes

__all__ = ["Classification"]


class Classification(Learner):
    """A classifier of clips with cross-entropy, optimizer and top-1 and top-5 accuracy.

    Logs train_loss, val_loss, val_top1_<class>, val_top1 and val_top5, over the clips of the epoch.

    Args:
        model: (B, C, T, H, W) -> (B, num_classes), or (B, T, num_classes): one output per frame.
        class_names: Names of all classes; used in the names of the metrics.
        scoring: For one output per frame: "last" learns from and scores the last one, "every"
            learns from all and scores the mean of their probabilities.
        learning: Optimizer, schedule and layout, as `Learner` takes them.
    """

    monitor = "val_top1"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        *,
        class_names: Sequence[str] | None = None,
        scoring: Scoring = "last",
        **learning: Any,
    ):
        super().__init__(model, **learning)
        names = list(class_names or map(str, range(num_classes)))
        check_classes(self, num_classes, names)
        if scoring not in ("last", "every"):
            raise RunError(f"no scoring called {scoring!r}; there are last and every")
        self.num_classes, self.class_names, self.scoring = num_classes, names, scoring
        self.top5 = MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro")

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        scores, label_B = self._scores(batch), batch[-1]
        loss = self._loss(scores, label_B)
        self.log_training("train_loss", loss, len(label_B))
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], index: int) -> None:
        scores, label_B = self._scores(batch), batch[-1]
        self.validated(self._loss(scores, label_B), len(label_B))
        score_BK = clip_scores(scores, self.scoring)
        self.counts_KK += confusion_counts(score_BK.argmax(1), label_B, self.num_classes)
        self.top5.update(score_BK, label_B)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        # the confusion matrix so far, true classes in rows
        shape = (self.num_classes, self.num_classes)
        self.counts_KK = torch.zeros(shape, dtype=torch.int64, device=self.device)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        found_KK = total(self.counts_KK).float()
        # nan for a class that did not occur
        right_K = found_KK.diagonal() / found_KK.sum(1)
        for name, right in zip(self.class_names, right_K, strict=True):
            self.log(f"val_top1_{name}", right)
        self.log("val_top1", found_KK.diagonal().sum() / found_KK.sum(), prog_bar=True)
        self.log("val_top5", self.top5.compute())
        self.top5.reset()

    def _scores(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Return (B, K), or (B, T, K) for one output per frame."""
        scores = self(batch[0])
        expected = (len(batch[-1]), self.num_classes)
        if scores.ndim not in (2, 3) or (scores.shape[0], scores.shape[-1]) != expected:
            raise ShapeError(
                f"Classification expects logits (B, K) or (B, T, K) with B = {expected[0]} clips "
                f"and K = {expected[1]} classes, got {tuple(scores.shape)}"
            )
        return scores

    def _loss(self, scores: Tensor, label_B: Tensor) -> Tensor:
        if scores.ndim == 2:
            return F.cross_entropy(scores, label_B)
        if self.scoring == "last":
            return F.cross_entropy(scores[:, -1], label_B)
        frames = scores.shape[1]
        return F.cross_entropy(scores.flatten(0, 1), label_B.repeat_interleave(frames))
