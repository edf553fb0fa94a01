"""Metrics and times of each epoch: in memory, metrics.csv and metrics.json."""

import csv
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lean3d.cost.peak import PeakMemory
from lean3d.errors import RunError
from lean3d.files import check_outputs, write_text
from lean3d.processes import place

__all__ = ["History"]

# of whole numbers
LARGEST = 2**63


class History(pl.Callback):
    """One row per epoch, part of every checkpoint: a resumed run repeats and loses no row.

    A row has the epoch (from 1), every logged metric, the seconds of the training steps and of the
    whole epoch, and the peak memory so far.

    Args:
        monitor: The metric that chooses the best epoch, the higher the better; ties go to the
            lower val_loss, if that is logged, else train_loss.
    """

    def __init__(self, folder: Path, monitor: str):
        self.folder, self.monitor = folder, monitor
        self.rows: list[dict[str, Any]] = []
        # identifier of the run's record in a logger
        self.record: str | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "record": self.record}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.record = list(state["rows"]), state.get("record")

    def can_load(self, state: dict[str, Any]) -> bool:
        """Whether this is a state of such a history, of one epoch or more."""
        rows, record = state.get("rows"), state.get("record")
        if not isinstance(rows, list) or not rows or not isinstance(record, str | None):
            return False
        return all(_is_row(row, number) for number, row in enumerate(rows, 1))

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.memory = PeakMemory(module.device)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = self.trained = time.perf_counter()
        self.validated = False

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.trained = time.perf_counter()
        self.validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not self.validated:  # the trainer keeps the values of an earlier epoch
            metrics = {k: math.nan if self._is_validated(k) else v for k, v in metrics.items()}
        if not math.isfinite(metrics["train_loss"]):
            raise RunError(
                f"the training loss became {metrics['train_loss']} in epoch "
                f"{trainer.current_epoch + 1}; lower lr, or use precision 32"
            )
        now = time.perf_counter()
        row = {"epoch": trainer.current_epoch + 1, **dict(sorted(metrics.items()))}
        row["train_seconds"] = round(self.trained - self.started, 3)
        row["seconds"] = round(now - self.started, 3)
        before = [old["peak_memory_mib"] for old in self.rows]
        row["peak_memory_mib"] = max([*before, self.memory.mib()])
        self.rows.append(row)
        self.write(finished=False)

    def begin(self) -> None:
        """Write the rows of a checkpoint: a kill may have left more, or fewer."""
        if self.rows:
            self.write(finished=False)

    def best(self) -> dict[str, Any]:
        """Return the row with the highest score; ties go to the lowest loss, then to the first."""
        return max(self.rows, key=lambda row: (self._score(row), -_loss(row)))

    def waited(self) -> int:
        """Epochs since there was a better score; nan is never better."""
        scores = [self._score(row) for row in self.rows]
        highest = max(scores, default=-math.inf)
        first = scores.index(highest) if highest > -math.inf else -1
        return len(scores) - 1 - first

    def _is_validated(self, name: str) -> bool:
        """Whether a metric is one of validation: the score, and what is called val_..."""
        return name == self.monitor or name.startswith("val_")

    def _score(self, row: dict[str, Any]) -> float:
        score = float(row.get(self.monitor, math.nan))
        return -math.inf if math.isnan(score) else score

    def write(self, finished: bool) -> dict[str, Any]:
        """Write both files, or neither, and return the contents of metrics.json.

        Of several processes the first one writes.
        """
        if not place().first:
            return self.results(finished)
        files = ("metrics.csv", "metrics.json")
        check_outputs({name: self.folder / name for name in files})
        table = io.StringIO()
        rows = self._filled()
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.folder / "metrics.csv", table.getvalue())
        results = self.results(finished)
        write_text(self.folder / "metrics.json", json.dumps(results, indent=1) + "\n")
        return results

    def _filled(self) -> list[dict[str, Any]]:
        """Return the rows with one set of columns: the first epochs may not be validated."""
        blank = {key: math.nan for row in self.rows for key in row}
        return [blank | row for row in self.rows]

    def results(self, finished: bool) -> dict[str, Any]:
        times = sorted(row["seconds"] for row in self.rows)
        best = self.best()
        rows = [{key: _json_able(value) for key, value in row.items()} for row in self._filled()]
        return {
            "finished": finished,
            "best_epoch": best["epoch"],
            "monitor": self.monitor,
            f"best_{self.monitor}": _json_able(best.get(self.monitor, math.nan)),
            "seconds_per_epoch": times[len(times) // 2],
            "peak_memory_mib": self.rows[-1]["peak_memory_mib"],
            "epochs": rows,
        }


def _is_row(row: Any, number: int) -> bool:
    """Whether this is the row of an epoch: metrics by name, and its finite times and memory."""
    if not isinstance(row, dict) or not all(isinstance(name, str) for name in row):
        return False
    values = row.values()
    if not all(type(v) is float or (type(v) is int and abs(v) < LARGEST) for v in values):
        return False
    finite = (row.get(name, math.nan) for name in ("train_loss", "seconds", "peak_memory_mib"))
    return row.get("epoch") == number and all(map(math.isfinite, finite))


def _loss(row: dict[str, Any]) -> float:
    loss = float(row.get("val_loss", row["train_loss"]))
    return math.inf if math.isnan(loss) else loss


def _json_able(value: float) -> float | None:
    return value if math.isfinite(value) else None
