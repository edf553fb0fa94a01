"""Progress on stderr: a bar in a terminal, one line per epoch elsewhere."""

import sys

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar

__all__ = ["EpochLines", "progress_bar"]


class EpochLines(pl.Callback):
    """One line per epoch, for logs."""

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        shown = {k: float(v) for k, v in sorted(trainer.callback_metrics.items())}
        if trainer.check_val_every_n_epoch != 1:
            # not validated: the values are of an earlier epoch
            shown = {k: v for k, v in shown.items() if not k.startswith("val_")}
        values = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {values}", file=sys.stderr)


def progress_bar() -> pl.Callback:
    if sys.stderr.isatty():
        # leave=True: the finished epochs stay readable above the running one
        return RichProgressBar(leave=True, console_kwargs={"stderr": True})
    return EpochLines()
