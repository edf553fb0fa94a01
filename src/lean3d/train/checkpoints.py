"""Checkpoints, written atomically."""

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
from lean3d.processes import place
from lean3d.train.history import History
from lean3d.train.plateaus import Plateaus
from lean3d.weights import check_weights

__all__ = [
    "KeepBestAndLast",
    "WholeCheckpointIO",
    "load_checkpoint",
    "load_resumable",
    "not_resumable",
]

# keys needed to resume from a checkpoint, besides its weights
PARTS = {"callbacks": dict, "optimizer_states": list, "lr_schedulers": list, "loops": dict}


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a new file, then renames it: after a kill one of the two is complete."""

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

    The best is written first. If killed between the two, the run resumes from the previous epoch
    and writes the same best again.
    """

    def __init__(self, folder: Path, history: History):
        self.folder, self.history = folder, history

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if place().first:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.plateaus = Plateaus(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.history.best()["epoch"] == trainer.current_epoch + 1:
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=True)
        self.plateaus.step(trainer, self.history.validated)
        trainer.save_checkpoint(self.folder / "last.ckpt")


def load_checkpoint(path: Path, model: nn.Module | None = None) -> dict[str, Any]:
    """Read a checkpoint of a run, and check that its weights are those of `model`."""
    # reading a pipe would block
    if not path.is_file():
        raise RunError(f"there is no checkpoint {path}; train the run first")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load may raise anything on damaged bytes
        raise RunError(f"cannot read the checkpoint {path}: {_why(error)}") from error
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise RunError(f"{path} is no checkpoint of a run: it has no weights named state_dict")
    if model is not None:
        _check_weights(path, weights, model.state_dict())
    return checkpoint


def _why(error: Exception) -> str:
    text = (str(error) or type(error).__name__).partition("\n")[0]
    # torch's message goes on to advise unsafe loading
    if text.startswith("Weights only load failed"):
        return "it holds more than weights, or is damaged"
    return text.partition(". ")[0]


def load_resumable(path: Path, task: nn.Module, history: History) -> dict[str, Any]:
    """Read a checkpoint to resume from, and check that it is complete."""
    checkpoint = load_checkpoint(path, task)
    check_weights(path, checkpoint["state_dict"], task.state_dict())
    for name, kind in PARTS.items():
        if not isinstance(checkpoint.get(name), kind):
            raise not_resumable(path, f"it has no {name}")
    rows = checkpoint["callbacks"].get(history.state_key)
    if not isinstance(rows, dict) or not history.can_load(rows):
        raise not_resumable(path, "it has no metrics of the epochs so far")
    return checkpoint


def not_resumable(path: Path, why: object) -> RunError:
    """Return the message for a checkpoint that holds weights, but no run."""
    first = str(why).strip().partition("\n")[0] or type(why).__name__
    return RunError(f"cannot resume from {path}: {first}; train in another folder (--out)")


def _check_weights(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    names = found.keys() ^ expected.keys()
    names |= {n for n in found.keys() & expected.keys() if found[n].shape != expected[n].shape}
    if names:
        raise RunError(
            f"{path} was written for another model: {len(names)} weights differ in name or shape, "
            f"the first is {min(names, key=str)}; resume with the settings of the run, or use "
            "another folder"
        )
