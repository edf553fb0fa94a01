"""Send the rows of metrics.csv to TensorBoard, Weights & Biases, MLflow or Trackio as well."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lean3d.errors import RunError
from lean3d.optional import require
from lean3d.train.history import History
from lean3d.train.settings import LoggerName

__all__ = ["LogRows"]

PROJECT = "lean3d"


class LogRows(pl.Callback):
    """Logs the settings of a run at its start and the row of each finished epoch at its number.

    The record's identifier is part of the history, so a resumed run continues the same record.

    Args:
        settings: Logged as hyperparameters.
    """

    def __init__(self, name: LoggerName, history: History, settings: Mapping[str, Any]):
        self.name, self.history, self.settings = name, history, dict(settings)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        try:
            self.logger = _logger(self.name, self.history)
            # MLflow refuses settings that changed since, such as more epochs
            if self.name != "mlflow" or self.history.record is None:
                self.logger.log_hyperparams(self.settings)
        # what a tracker raises without a login, a network or a place to write is its own
        except Exception as error:
            why = (str(error) or type(error).__name__).partition("\n")[0]
            raise RunError(f"cannot log to {self.name}: {why}; leave --logger out") from error
        version = self.logger.version
        self.history.record = str(version) if version else None

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        row = {key: float(value) for key, value in self.history.rows[-1].items()}
        self.logger.log_metrics(row, step=int(row.pop("epoch")))
        self.logger.save()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._end("success")

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        if hasattr(self, "logger"):
            self._end("failed")

    def _end(self, status: str) -> None:
        self.logger.finalize(status)
        if isinstance(self.logger, WandbLogger):
            # or the next run of this process would continue this one
            self.logger.experiment.finish(exit_code=int(status != "success"))


def _logger(name: LoggerName, history: History) -> Logger:
    folder, record = history.folder, history.record
    if name == "tensorboard":
        # rows that a kill left behind the last checkpoint are logged again
        begin = len(history.rows) + 1
        return TensorBoardLogger(
            folder, "tensorboard", "", purge_step=begin, default_hp_metric=False
        )
    title = folder.resolve().name
    if name == "wandb":
        return WandbLogger(title, folder, id=record, project=PROJECT)
    if name == "mlflow":
        return MLFlowLogger(PROJECT, title, tracking_uri=_mlflow(folder / "mlruns"), run_id=record)
    return TrackioLogger(record or title)


def _mlflow(folder: Path) -> str:
    """Return the place of MLflow's records: a server, or a database, as MLflow 3 refuses files."""
    if server := os.environ.get("MLFLOW_TRACKING_URI"):
        return server
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder.resolve()}/mlflow.db"


class TrackioLogger(Logger):
    """Lightning has none for Trackio, whose calls are those of Weights & Biases."""

    def __init__(self, title: str):
        self.title, self.trackio = title, require("trackio", extra="trackio")

    @property
    def name(self) -> str:
        return PROJECT

    @property
    def version(self) -> str:
        return self.title

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.trackio.init(project=PROJECT, name=self.title, config=dict(params), resume="allow")

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.trackio.log(metrics, step=step)

    def finalize(self, status: str) -> None:
        self.trackio.finish()
