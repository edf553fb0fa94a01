"""Progress on stderr: a bar in a terminal, lines elsewhere."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar

__all__ = ["EpochLines", "progress_bar"]

# seconds without a line, after which one says how far an epoch is
QUIET_S = 30.0


class EpochLines(pl.Callback):
    """One line per epoch, for logs; within an epoch one after every half minute without any."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if self._is_due():  # reading the loss waits for a GPU
            loss = float(outputs["loss"] if isinstance(outputs, dict) else outputs)
            self._say(trainer, f"step {index + 1}/{trainer.num_training_batches}  loss {loss:.4f}")

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self._is_due():
            cases = [int(num) for num in trainer.num_val_batches]
            self._say(trainer, f"validation {args[3] + 1}/{sum(cases)}")

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        shown = {k: float(v) for k, v in sorted(trainer.callback_metrics.items())}
        if trainer.check_val_every_n_epoch != 1:
            # not validated: the values are of an earlier epoch
            shown = {k: v for k, v in shown.items() if not k.startswith("val_")}
        self._say(trainer, "  ".join(f"{name} {value:.4f}" for name, value in shown.items()))

    def _is_due(self) -> bool:
        return time.monotonic() - self.last >= QUIET_S

    def _say(self, trainer: pl.Trainer, what: str) -> None:
        self.last = time.monotonic()
        place = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        print(f"{place}  {what}", file=sys.stderr, flush=True)


def progress_bar() -> pl.Callback:
    if sys.stderr.isatty():
        # leave=True: the finished epochs stay readable above the running one
        return RichProgressBar(leave=True, console_kwargs={"stderr": True})
    return EpochLines()
