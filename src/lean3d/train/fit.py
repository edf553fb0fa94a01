"""Train a task in a run folder, to the end or on from where a run was killed."""

import random
import signal
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from lean3d.errors import RunError
from lean3d.train.checkpoints import KeepBestAndLast, WholeCheckpointIO, load_checkpoint
from lean3d.train.epochs import SeededEpochs
from lean3d.train.history import History
from lean3d.train.progress import progress_bar
from lean3d.train.quiet import quiet_trainer

__all__ = ["Precision", "check_settings", "fit"]

Precision = Literal["32", "bf16-mixed", "16-mixed"]

# the history writes what is logged, whole files only
_SILENT: dict[str, Any] = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)


class _TellEpoch(pl.Callback):
    """Tells the training loader which epoch begins."""

    def __init__(self, loader: SeededEpochs):
        self.loader = loader

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.loader.epoch = trainer.current_epoch


def fit(
    task: pl.LightningModule,
    train_loader: DataLoader,
    val_loader: DataLoader,
    folder: str | Path,
    *,
    epochs: int,
    precision: Precision = "32",
    patience: int | None = None,
    seed: int = 0,
    resume: bool = False,
    accelerator: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Train `task` to its last epoch's weights and return what metrics.json holds.

    The folder gets metrics.csv, metrics.json, checkpoints/best.ckpt, checkpoints/last.ckpt and
    TensorBoard logs. A resumed run gives, bit for bit, the weights of one that was never stopped.

    Args:
        task: Must log train_loss and the score that its `monitor` names, the higher the better.
        patience: Stop after this many epochs without a better score.
        resume: Go on from last.ckpt where there is one; what a finished run gave is returned.
    """
    folder = Path(folder)
    last = folder / "checkpoints" / "last.ckpt"
    check_settings(epochs, precision, accelerator)
    if last.exists() and not resume:
        raise RunError(f"{folder} holds a run already; pass --resume to go on, or another --out")
    folder.mkdir(parents=True, exist_ok=True)
    for left_by_a_kill in [*folder.glob(".metrics.*"), *folder.glob("tensorboard/.events.*")]:
        left_by_a_kill.unlink()
    monitor = str(task.monitor)
    history = History(folder, monitor)
    if last.exists() and _is_done(load_checkpoint(last, task), history, task, epochs):
        return history.write(finished=True)
    loader = SeededEpochs(train_loader, seed)
    callbacks = [_TellEpoch(loader), history, KeepBestAndLast(last.parent, history)]
    callbacks += [_early_stop(monitor, patience)] if patience is not None else []
    shown = progress_bar() if progress else None
    callbacks += [shown] if shown else []
    with quiet_trainer():
        trainer = _trainer(
            max_epochs=epochs,
            accelerator=accelerator,
            devices=1,
            precision=precision,
            callbacks=callbacks,
            plugins=[WholeCheckpointIO()],
            num_sanity_val_steps=0,
            **_SILENT | {"enable_progress_bar": isinstance(shown, ProgressBar)},
        )
        _run(trainer, task, loader, val_loader, last if last.exists() else None)
    return history.write(finished=True)


def _trainer(**settings) -> pl.Trainer:
    try:
        return pl.Trainer(**settings)
    except (MisconfigurationException, ValueError) as error:
        raise RunError(f"cannot train with these settings: {error}") from error


def _run(trainer, task, train_loader, val_loader, checkpoint: Path | None) -> None:
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    task.train()
    try:
        trainer.fit(task, train_loader, val_loader, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stopped:
        # the trainer turns Ctrl-C into exit code 1, and ignores the next one
        if isinstance(stopped.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
        raise
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])


def _early_stop(monitor: str, patience: int) -> EarlyStopping:
    # nan, a Dice when no foreground occurs, is only not better: hence check_finite=False
    return EarlyStopping(
        monitor, mode="max", patience=patience, check_finite=False, check_on_train_epoch_end=True
    )


def _is_done(checkpoint: dict[str, Any], history: History, task, epochs: int) -> bool:
    """Whether the run reached its last epoch or stopped early; puts it in its final state then."""
    states = checkpoint["callbacks"]
    told = states[history.state_key]
    early = any(state.get("stopped_epoch", 0) > 0 for state in states.values())
    if done := early or len(told["rows"]) >= epochs:
        history.load_state_dict(told)
        task.load_state_dict(checkpoint["state_dict"])
    return done


def check_settings(epochs: int, precision: str, accelerator: str) -> None:
    """Refuse what this machine cannot train with, before anything is written.

    Raises:
        RunError: no epoch, or a precision or accelerator that is not there.
    """
    if epochs < 1:
        raise RunError(f"a run needs at least one epoch, got {epochs}")
    if precision == "16-mixed" and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise RunError("precision 16-mixed needs a GPU; use bf16-mixed or 32 on the CPU")
    with quiet_trainer():
        _trainer(accelerator=accelerator, precision=precision, devices=1, **_SILENT)
