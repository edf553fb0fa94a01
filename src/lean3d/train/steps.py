"""Callbacks at the start and the end of a run, its epochs and its batches."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl

from lean3d.signals import check_stopped
from lean3d.train.epochs import SeededEpochs
from lean3d.train.history import History

__all__ = ["Begin", "CheckStopped", "StopEarly", "TellEpoch", "ValidateEvery"]


class Begin(pl.Callback):
    """Calls functions once the trainer has restored everything, before the first step."""

    def __init__(self, calls: Sequence[Callable[[], None]]):
        self.calls, self.begun = calls, False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.begun = True
        for call in self.calls:
            call()


class TellEpoch(pl.Callback):
    """Sets the epoch of the training loader."""

    def __init__(self, loader: SeededEpochs):
        self.loader = loader

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.loader.epoch = trainer.current_epoch


class ValidateEvery(pl.Callback):
    """Validates every `epochs` epochs, and after the last one."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        number = trainer.current_epoch + 1
        due = number % self.epochs == 0 or number == trainer.max_epochs
        # of an epoch that never comes
        trainer.check_val_every_n_epoch = 1 if due else sys.maxsize


class StopEarly(pl.Callback):
    """Stops after `patience` epochs without a better score, if that is not None.

    It keeps no count: the rows of the history decide, so that a resumed run stops at the same
    epoch, and may be given another patience.
    """

    def __init__(self, history: History, patience: int | None):
        self.history, self.patience = history, patience

    @property
    def due(self) -> bool:
        waited = self.history.waited()
        return self.patience is not None and 0 < waited >= self.patience

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.due


class CheckStopped(pl.Callback):
    """Stops a run by a signal whose exception was swallowed by a destructor."""

    def on_train_batch_start(self, *args: Any) -> None:
        check_stopped()

    def on_validation_batch_start(self, *args: Any) -> None:
        check_stopped()
