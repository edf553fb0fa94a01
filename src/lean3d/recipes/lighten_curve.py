"""The score of a run made lighter against measured time: several targets, single cuts too."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lean3d.errors import LeanError, RunError
from lean3d.files import write_text
from lean3d.lightening.target import KINDS
from lean3d.recipes.lighten import RECORD, Lighter, begun_by, best_score, lighten_run
from lean3d.recipes.load import load_run
from lean3d.report import json_line
from lean3d.report.drawing import save_figure
from lean3d.report.trade_off import Measured, draw_trade_off
from lean3d.runtime import optimize
from lean3d.runtime.source import BACKENDS
from lean3d.train.folder import is_begun

__all__ = ["Curve", "lighten_curve"]

MIXTURE, NAME = "mixture", "curve"


@dataclass(frozen=True)
class Curve:
    """A finished curve.

    Args:
        rows: Of every network: its line, target, ms, share of the first network's time, score.
        refused: Sentences on the targets that cannot be met, by line and target.
        monitor: Name of the score.
    """

    rows: list[dict[str, Any]]
    refused: list[str]
    monitor: str


def lighten_curve(
    run: str | Path,
    out: str | Path,
    how: Lighter,
    targets: Sequence[float],
    *,
    single: bool = False,
    accelerator: str = "auto",
    progress: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Curve:
    """Make a run lighter for every target, and write curve.json, curve.csv, curve.svg and .png.

    Each network is a run in a folder of its own in `out`, LINE_PERCENT; those that are finished
    are read, those that were begun are resumed, if they are of this run and by these cuts.

    Args:
        targets: Shares of the run's own time.
        single: Make it lighter by each family of cuts alone as well.

    Raises:
        RunError: no target is a share, or none can be met.
    """
    run, out = Path(run), Path(out)
    if not targets or not all(0 < share <= 1 for share in targets):
        raise RunError(f"a curve has targets above 0 and at most 1, got {list(targets)}")
    if other := [name for name in KINDS if getattr(how, name) is not None]:
        raise RunError(f"a curve names shares of the time; leave out {', '.join(other)}")
    lines = {MIXTURE: how.cuts} | ({name: (name,) for name in how.cuts} if single else {})
    rows: list[dict[str, Any]] = []
    refused: list[str] = []
    records: list[dict[str, Any]] = []
    for line, cuts in lines.items():
        for share in sorted(targets, reverse=True):
            folder = out / f"{line}_{_percent(share)}"
            own = replace(how, time=share, cuts=cuts)
            try:
                record = _piece(run, folder, own, accelerator, progress, tell)
            except LeanError as error:
                if "cannot be met" not in str(error):
                    raise
                refused.append(f"{line} {share:g}: {error}")
                continue
            records.append(record)
            rows.append(_row(line, share, folder, record, records[0]["before"]))
    if not rows:
        raise RunError(f"no target can be met: {refused[0]}")
    monitor, score = best_score(run)
    rows = [*_ways(run, records[0], score, how.batch), *rows]
    _write(out, rows, refused, monitor)
    return Curve(rows, refused, monitor)


def _piece(
    run: Path, folder: Path, how: Lighter, accelerator: str, progress: bool, tell: Any
) -> dict[str, Any]:
    if is_begun(folder, True):
        record = begun_by(run, folder, how, whole=True)
        path = folder / "metrics.json"
        if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("finished"):
            return record[RECORD]
    said = f"{folder}: time {how.time:g} by {', '.join(how.cuts)}"
    # once all is checked and the forms are chosen: a refusal is one sentence
    settings: Any = dict(accelerator=accelerator, progress=progress)
    settings["tell"] = lambda line: tell(f"{said}; {line}")
    return lighten_run(run, folder, how, resume=True, **settings)[1]


def _percent(share: float) -> str:
    """Return 050 for a half, and 012.5 for an eighth."""
    whole, dot, rest = f"{100 * share:g}".partition(".")
    return f"{whole:0>3}{dot}{rest}"


def _row(
    line: str, share: float, folder: Path, record: dict[str, Any], before: float
) -> dict[str, Any]:
    return {
        "line": line,
        "target": share,
        # at the speed that the machine had when the first of them was timed
        "ms": record["ratio"] * before,
        "share": record["ratio"],
        "predicted": record["predicted"] / record["before"],
        "score": best_score(folder)[1],
        "run": str(folder),
    }


def _ways(
    run: Path, record: dict[str, Any], score: float | None, batch: int
) -> list[dict[str, Any]]:
    """Return the first network as it is, fused, and by the fastest backend, timed here."""
    model, recipe = load_run(run)
    example = torch.randn(batch, recipe.in_channels, *recipe.input_size)
    names = [record["backend"]] if record["backend"] in BACKENDS else []
    found = _timed(model, example, names)
    whole = found[record["backend"]] if record["backend"] in found else min(found.values())
    said = {"eager": "the run", "fused": "the run, fused"}
    return [
        {
            "line": said.get(name, f"the run by {name}"),
            "target": 1.0,
            "ms": record["before"] * ms / whole,
            "share": ms / whole,
            "predicted": None,
            "score": score,
            "run": str(run),
        }
        for name, ms in found.items()
    ]


def _timed(model: nn.Module, example: torch.Tensor, names: list[str]) -> dict[str, float]:
    table = optimize(model, example, backends=["eager", "fused", *names]).table
    return {row.backend: row.ms for row in table if row.ms == row.ms}


def _write(out: Path, rows: list[dict[str, Any]], refused: list[str], monitor: str) -> None:
    facts = {"monitor": monitor, "points": rows, "refused": refused}
    write_text(out / f"{NAME}.json", json_line(facts) + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / f"{NAME}.csv", table.getvalue())
    points = [Measured(r["line"], r["ms"], r["score"]) for r in rows if r["score"] is not None]
    if points:
        save_figure(draw_trade_off(points, monitor, MIXTURE), out / NAME)
