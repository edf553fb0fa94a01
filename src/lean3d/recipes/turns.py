"""Train on small clips, alternating between low resolution and low frame rate; use whole clips.

Paper: Miao et al., STDCF, NeurIPS 2021, Algorithm 1 and Sec 3.1: each stage has the training
settings of a run of its own, and whole clips are tested with all kernels dilated.
"""

from typing import Any

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
        shrink: Spatial subsampling factor of the stages that train kernels of time.
        skip: Temporal subsampling factor of the stages that train kernels of space.
        rest: As `Classification` takes it.
    """

    def __init__(
        self, model: nn.Module, num_classes: int, *, turn: int, shrink: int, skip: int, **rest: Any
    ):
        super().__init__(model, num_classes, **rest)
        self.turn = turn
        self.stages = list(two_stage(1, space=shrink, time=skip))
        self.whole = whole(space=shrink, time=skip)

    @property
    def stage(self) -> Stage:
        """The stage of the current epoch."""
        return self.stages[self.current_epoch // self.turn % len(self.stages)]

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.stage.enter(self.model)
        self.freeze_parts()

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        return super().training_step((self.stage.clip(batch[0]), *batch[1:]), index)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.whole.enter(self.model)

    def _share(self, epoch: int) -> float:
        return self._share_of(epoch % self.turn, self.turn)
