"""Says how long an epoch will take, once the first steps ran."""

import sys
import time
from typing import Any

import lightning.pytorch as pl

__all__ = ["Estimate"]

# steps before the clock starts, as the first ones allocate memory; steps, or seconds, that it runs
SKIPPED, MEASURED, PATIENCE_S = 1, 4, 20.0


class Estimate(pl.Callback):
    """Prints the seconds of an epoch on stderr, from a few steps of the first one of a session."""

    def __init__(self) -> None:
        self.started: float | None = None
        self.said = False

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        step, steps = trainer.fit_loop.batch_idx + 1, trainer.num_training_batches
        if self.said or steps <= SKIPPED + MEASURED:
            return
        if self.started is None:
            self.started, self.first = time.perf_counter(), step
            return
        passed, done = time.perf_counter() - self.started, step - self.first
        if done < MEASURED and passed < PATIENCE_S:
            return
        self.said = True
        seconds = passed / done
        epoch = seconds * steps
        total = f"{_time(epoch)} an epoch, {_time(epoch * (trainer.max_epochs or 1))} in all"
        print(
            f"{steps} steps of {seconds:.2g} s: about {total}, and validation",
            file=sys.stderr,
            flush=True,
        )


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
