"""lean3d lighten RUN --time 0.5"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.errors import RunError
from lean3d.recipes.lighten import Lighter, lighten_run
from lean3d.signals import advising

__all__ = ["main"]


@dataclass(frozen=True)
class Lighten:
    """Make the network of a run lighter, to a time that you name, and train it on.

    Attributes:
        run: Folder of a finished run.
        out: Folder of the new run; RUN_light by default.
        resume: Resume the run in the folder.
        scratch: Train the lighter network from random weights without a teacher, to compare.
        accelerator: Where to train: auto, cpu, gpu. Times are those of a CPU.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    how: Lighter = field(default_factory=Lighter)
    out: Path | None = None
    resume: bool = False
    scratch: bool = False
    accelerator: str = "auto"


def main(argv: list[str]) -> None:
    asked = parse(Lighten, "lighten", argv)
    out = asked.out or asked.run.parent / f"{asked.run.name}_light"
    with advising(out, "recipe.json"):
        results, record = lighten_run(
            asked.run,
            out,
            asked.how,
            resume=asked.resume,
            accelerator=asked.accelerator,
            scratch=asked.scratch,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
        )
    show_table(record["layers"], LAYERS)
    score, before = results["monitor"], _score(asked.run)
    after = results["epochs"][results["best_epoch"] - 1][score]
    rows = [
        {"network": str(asked.run), "cost": record["before"], score: before},
        {"network": str(out), "cost": record["measured"], score: after},
    ]
    unit = {"time": "ms", "memory": "bytes"}.get(record["target"], record["target"])
    print()
    show_table(rows, {"network": "run", "cost": unit, score: score})
    print(
        f"{record['target']} {record['ratio']:.2f} of the run's own, predicted "
        f"{record['predicted'] / record['before']:.2f}; the run is in {out}"
    )
    shown: dict[str, Any] = {k: v for k, v in record.items() if k not in ("layers", "cuts")}
    show_json(
        {"run": str(asked.run), "out": str(out), **shown}
        | {"monitor": score, "score_before": before, "score": after}
        | {"epochs": len(results["epochs"])}
    )


LAYERS = {
    "path": "convolution",
    "after": "became",
    "before_cost": "before",
    "after_cost": "after",
    "error": "error",
}


def _score(run: Path) -> float | None:
    """Return the score of the run's best epoch, if it is known."""
    import json

    path = run / "metrics.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found["epochs"][found["best_epoch"] - 1][found["monitor"]]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RunError(f"{path} is damaged: {error}; train again") from error
