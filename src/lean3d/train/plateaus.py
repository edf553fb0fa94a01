"""Step the plateau schedulers before the checkpoint of an epoch is written.

The trainer itself steps them afterwards: a resumed run would miss the step of its last epoch.
"""

import sys
from typing import Any

import lightning.pytorch as pl

from lean3d.errors import RunError

__all__ = ["Plateaus"]


class Plateaus:
    """Plateau schedulers of a trainer, stepped once every given number of epochs."""

    def __init__(self, trainer: pl.Trainer):
        self.every: list[tuple[Any, int]] = []
        for config in trainer.lr_scheduler_configs:
            if config.reduce_on_plateau and config.interval == "epoch":
                self.every.append((config, config.frequency))
                # an epoch that never comes
                config.frequency = sys.maxsize

    def step(self, trainer: pl.Trainer, validated: bool = True) -> None:
        """Do the trainer's step at the end of an epoch.

        Args:
            validated: Whether the epoch was validated; else the score is that of an earlier one.
        """
        if not validated:
            return
        for config, frequency in self.every:
            if (trainer.current_epoch + 1) % frequency:
                continue
            score = trainer.callback_metrics.get(config.monitor)
            if score is not None:
                trainer.lightning_module.lr_scheduler_step(config.scheduler, score)
            elif config.strict:
                raise RunError(f"the schedule reads {config.monitor}, which nothing logs")
