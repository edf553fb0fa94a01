"""Train a task in a run folder, from the start or resumed, to the end."""

import random
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch.utils.data import DataLoader

from lean3d.errors import RunError
from lean3d.processes import place
from lean3d.signals import Stopped
from lean3d.train.checkpoints import (
    KeepBestAndLast,
    WholeCheckpointIO,
    load_resumable,
    not_resumable,
)
from lean3d.train.convolutions import CheckConvolutions
from lean3d.train.epochs import SeededEpochs
from lean3d.train.estimate import Estimate
from lean3d.train.folder import drop_leftovers, is_begun, last_checkpoint, run_folder
from lean3d.train.history import History
from lean3d.train.loggers import LogRows
from lean3d.train.many import ShareStatistics, many
from lean3d.train.progress import progress_bar
from lean3d.train.quiet import quiet_trainer
from lean3d.train.restored import CheckRestored
from lean3d.train.settings import LoggerName, Strategy, check_logger, check_strategy
from lean3d.train.sharded import check_shardable
from lean3d.train.steps import Begin, CheckStopped, StopEarly, TellEpoch, ValidateEvery

__all__ = ["Precision", "check_settings", "fit"]

Precision = Literal["32", "bf16-mixed", "16-mixed"]

# torch's words where a batch norm in training gets one value a channel
ALONE = "Expected more than 1 value per channel when training"
# the history writes the logged values, in complete files
_SILENT: dict[str, Any] = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)


def fit(
    task: pl.LightningModule,
    train_loader: DataLoader,
    val_loader: DataLoader,
    folder: str | Path,
    *,
    epochs: int,
    precision: Precision = "32",
    patience: int | None = None,
    val_every: int = 1,
    seed: int = 0,
    resume: bool = False,
    accelerator: str = "auto",
    strategy: Strategy = "ddp",
    sync_batchnorm: bool = False,
    accumulate: int = 1,
    progress: bool = True,
    begin: Callable[[], None] | None = None,
    logger: LoggerName | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train `task` to its last epoch and return the contents of metrics.json.

    The folder gets metrics.csv, metrics.json, checkpoints/best.ckpt and checkpoints/last.ckpt. A
    resumed run gives, bit for bit, the weights of one that was never stopped.
    An error before the end of the first epoch leaves the folder as it was. Several processes that
    are `lean3d.processes.joined` train together, each with loaders of its own share.

    Args:
        task: Must log train_loss and the score named by its `monitor`, the higher the better.
        patience: Stop after this many epochs without a better score.
        val_every: Validate every so often, in epochs, and after the last one; the epochs between
            have no score and are never the best.
        resume: Resume from last.ckpt if there is one; for a finished run its result is returned.
        strategy: Of several processes: each keeps all weights (ddp), or a shard of each (fsdp);
            those of `task` then stay sharded, and the checkpoints have them whole.
        sync_batchnorm: Batch norms count the samples of all processes.
        accumulate: Batches of a process in one step of the optimizer.
        begin: Called when all is read and checked, before the first step and before anything is
            written; not called for a run that is finished.
        logger: Where the rows of metrics.csv go as well: "tensorboard" (the folder's tensorboard/),
            "wandb", "mlflow" or "trackio". Logins, addresses and offline modes are theirs.
        settings: Logged as hyperparameters.
    """
    folder = Path(folder)
    if logger is not None:
        check_logger(logger)
    check_settings(epochs, precision, accelerator, strategy)
    if strategy == "fsdp" and place().size > 1:
        check_shardable(task)
    with run_folder(folder):
        begun, last = is_begun(folder, resume), last_checkpoint(folder)
        history = History(folder, str(task.monitor))
        stop = StopEarly(history, patience)
        if begun and _is_done(last, history, stop, task, epochs):
            drop_leftovers(folder)
            return history.write(finished=True)
        loader = SeededEpochs(train_loader, seed)
        calls = [lambda: drop_leftovers(folder), *([begin] if begin else []), history.begin]
        first = Begin(calls if place().first else [])
        logged = logger is not None and place().first
        rows = [LogRows(logger, history, settings or {})] if logger and logged else []
        shown = [Estimate(), progress_bar()] if progress and place().first else []
        # a checkpoint contains the results of the callbacks before it
        callbacks = [
            *([CheckRestored(last, history)] if begun else []),
            first,
            CheckStopped(),
            *([CheckConvolutions()] if precision == "bf16-mixed" else []),
            ShareStatistics(),
            ValidateEvery(val_every),
            TellEpoch(loader),
            history,
            *rows,
            stop,
            *shown,
            KeepBestAndLast(last.parent, history),
        ]
        bar = any(isinstance(one, ProgressBar) for one in shown)
        with quiet_trainer():
            trainer = _trainer(
                max_epochs=epochs,
                accelerator=accelerator,
                precision=precision,
                callbacks=callbacks,
                accumulate_grad_batches=accumulate,
                default_root_dir=folder,
                num_sanity_val_steps=0,
                **_SILENT | many(strategy, sync_batchnorm) | {"enable_progress_bar": bar},
            )
            _run(trainer, task, loader, val_loader, last if begun else None, first)
        if not first.begun:
            raise not_resumable(last, "its counts of epochs are not those of its metrics")
        return history.write(finished=True)


def _trainer(**settings) -> pl.Trainer:
    settings["plugins"] = [WholeCheckpointIO(), *settings["plugins"]]
    try:
        return pl.Trainer(**settings)
    # a missing accelerator raises different errors
    except (MisconfigurationException, ValueError, ImportError, RuntimeError) as error:
        why = (str(error) or type(error).__name__).partition("\n")[0]
        raise RunError(f"cannot train with these settings: {why}") from error


def _run(trainer, task, train_loader, val_loader, checkpoint: Path | None, first: Begin) -> None:
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    task.train()
    try:
        trainer.fit(task, train_loader, val_loader, ckpt_path=checkpoint, weights_only=True)
    except SIGTERMException:
        # a program of its own, without the signal handling of the command line
        raise Stopped(signal.SIGTERM) from None
    except SystemExit as stopped:
        # the trainer turns Ctrl-C into exit code 1, and ignores the next one
        if isinstance(stopped.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
        raise
    except Exception as error:
        if checkpoint is not None and not first.begun and not isinstance(error, RunError):
            raise not_resumable(checkpoint, error) from error
        if ALONE in str(error):
            raise RunError(
                "a batch norm has a single value a channel to learn from; give batches of 2 "
                "samples or more (also the last of an epoch), or larger ones"
            ) from error
        raise
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])


def _is_done(last: Path, history: History, stop: StopEarly, task: Any, epochs: int) -> bool:
    """Whether the run reached its last epoch or stopped early; if so, put it in its final state."""
    checkpoint = load_resumable(last, task, history)
    history.load_state_dict(checkpoint["callbacks"][history.state_key])
    if done := stop.due or len(history.rows) >= epochs:
        task.load_state_dict(checkpoint["state_dict"])
    return done


def check_settings(
    epochs: int,
    precision: str,
    accelerator: str,
    strategy: Strategy = "ddp",
    devices: int | None = None,
) -> None:
    """Refuse settings this machine cannot train with, before anything is written.

    Args:
        devices: Processes of this machine that are not started yet.

    Raises:
        RunError: no epoch, or a precision, accelerator, strategy or device that is not available.
    """
    if epochs < 1:
        raise RunError(f"a run needs at least one epoch, got {epochs}")
    if precision == "16-mixed" and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise RunError("precision 16-mixed needs a GPU; use bf16-mixed or 32 on the CPU")
    check_strategy(strategy, precision)
    own = many(strategy, False) | ({} if devices is None else {"devices": devices})
    with quiet_trainer():
        _trainer(accelerator=accelerator, precision=precision, **_SILENT, **own)
