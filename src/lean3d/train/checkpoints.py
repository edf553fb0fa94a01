"""Checkpoints that are whole or not there."""

import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from lean3d.errors import RunError
from lean3d.files import write_whole
from lean3d.train.history import History

__all__ = ["KeepBestAndLast", "WholeCheckpointIO", "load_checkpoint"]


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint, then renames: a kill leaves one of the two, whole."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        # into memory first: on a full disk torch.save says only "unexpected pos"
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with write_whole(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())


class KeepBestAndLast(Checkpoint):
    """last.ckpt resumes the run; best.ckpt holds the weights with the highest score.

    The best is written first. Killed between the two, the run resumes from the epoch before and
    writes the same best again.
    """

    def __init__(self, folder: Path, history: History):
        self.folder, self.history = folder, history

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left_by_a_kill in self.folder.glob(".*.ckpt"):
            left_by_a_kill.unlink()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.history.best()["epoch"] == trainer.current_epoch + 1:
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=True)
        trainer.save_checkpoint(self.folder / "last.ckpt")


def load_checkpoint(path: Path, model: nn.Module | None = None) -> dict[str, Any]:
    """Read a checkpoint of a run, and check that its weights are those of `model`."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"there is no checkpoint {path}; train the run first") from error
    except Exception as error:  # torch.load raises whatever the damaged bytes lead it to
        why = str(error) or type(error).__name__
        raise RunError(f"cannot read the checkpoint {path}: {why}") from error
    if model is not None:
        _check_weights(path, checkpoint["state_dict"], model.state_dict())
    return checkpoint


def _check_weights(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    names = found.keys() ^ expected.keys()
    names |= {n for n in found.keys() & expected.keys() if found[n].shape != expected[n].shape}
    if names:
        raise RunError(
            f"{path} was written for another model: {len(names)} weights differ in name or shape, "
            f"the first is {min(names)}; resume with the settings of the run, or use another folder"
        )
