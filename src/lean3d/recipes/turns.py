"""Train on small clips, alternating between low resolution and low frame rate; use whole clips.

Paper: Miao et al., STDCF, NeurIPS 2021, Algorithm 1 and Sec 3.1: each stage has the training
settings of a run of its own, and whole clips are tested with all kernels dilated.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.tasks.classification import Classification
from lean3d.train.two_stage import Stage, two_stage, whole

__all__ = ["ClassificationByTurns"]


class ClassificationByTurns(Classification):
    """A classifier trained in stages of `turn` epochs each.

    The learning rate's schedule restarts with every stage. Validation is on whole clips.

    Args:
        model: As `Stage.enter` takes it.
        turn: Epochs of a stage.
        stage_epochs: Epochs of every stage, instead.
        stage_lr: Rate of every stage, over that of the first one; `lr` is that.
        shrink: Spatial subsampling factor of the stages that train kernels of time.
        skip: Temporal subsampling factor of the stages that train kernels of space.
        rest: As `Classification` takes it.
    """

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        *,
        turn: int,
        shrink: int,
        skip: int,
        stage_epochs: Sequence[int] = (),
        stage_lr: Sequence[float] = (),
        **rest: Any,
    ):
        super().__init__(model, num_classes, **rest)
        self.turn, self.stage_epochs, self.stage_lr = turn, tuple(stage_epochs), tuple(stage_lr)
        self.stages = list(two_stage(1, space=shrink, time=skip))
        self.whole = whole(space=shrink, time=skip)

    @property
    def stage(self) -> Stage:
        """The stage of the current epoch."""
        number, _, _ = self._at(self.current_epoch)
        return self.stages[number % len(self.stages)]

    def _at(self, epoch: int) -> tuple[int, int, int]:
        """Return the number of the stage of an epoch, the epoch in it, and its epochs."""
        if not self.stage_epochs:
            return epoch // self.turn, epoch % self.turn, self.turn
        ends = list(accumulate(self.stage_epochs))
        # schedules ask for the epoch after the last one
        number = min(bisect_right(ends, epoch), len(ends) - 1)
        length = self.stage_epochs[number]
        return number, epoch - (ends[number] - length), length

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.stage.enter(self.model)
        self.freeze_parts()

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        return super().training_step((self.stage.clip(batch[0]), *batch[1:]), index)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.whole.enter(self.model)

    def configure_optimizers(self) -> Any:
        if self.stage_lr and self.schedule == "constant":
            optimizer = self._optimizer()
            return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self._share)]
        return super().configure_optimizers()

    def _share(self, epoch: int) -> float:
        number, within, length = self._at(epoch)
        rate = self.stage_lr[number] / self.stage_lr[0] if self.stage_lr else 1.0
        return rate * (1.0 if self.schedule == "constant" else self._share_of(within, length))
