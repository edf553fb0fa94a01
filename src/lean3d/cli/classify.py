"""lean3d predict SCAN_OR_FOLDER --run RUN --out CLASSES.csv, for runs that classify volumes"""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lean3d.cli.show import failures, show_json, show_table
from lean3d.cli.sources import run_files
from lean3d.data.folder import ImagePath
from lean3d.errors import LeanError, RunError
from lean3d.files import check_outputs, write_text

__all__ = ["classify_scans"]


def classify_scans(
    scans: dict[str, ImagePath],
    runs: Sequence[Path],
    out: Path,
    device: torch.device,
    optimize: bool = False,
    precision: str = "float32",
    done: Callable[[], None] = lambda: None,
) -> None:
    """Write a line for each scan: its most probable class, and the probabilities of all.

    A scan that cannot be read is left out.

    Args:
        done: Called before anything is printed.

    Raises:
        RunError: a scan could not be read; says how many, when the others are written.
    """
    from lean3d.recipes.classify import Classifier

    if out.suffix != ".csv":
        raise RunError(f"classes are written as .csv, got --out {out}")
    files = [path for run in runs for path in run_files(run)]
    check_outputs({"--out": out}, {"run's own file": files})
    classifier = Classifier(runs, device, optimize, precision)
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for name, image in scans.items():
        try:
            found = classifier(image)
        except LeanError as error:
            if len(scans) == 1:
                raise
            failed[name] = str(error)
            continue
        best = max(found, key=lambda key: found[key])
        rows.append({"scan": name, "class": best, **{f"p_{key}": p for key, p in found.items()}})
    done()
    if not rows:
        raise RunError(failures(failed, len(scans), "have no class"))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out, text.getvalue())
    if failed:
        raise RunError(failures(failed, len(scans), f"have no class in {out}"))
    counts = {name: sum(row["class"] == name for row in rows) for name in classifier.names}
    show_table([{"class": name, "scans": number} for name, number in counts.items()])
    print(f"the classes are in {out}")
    show_json({"classes": str(out), "scans": len(rows), **counts})
