"""lean3d lighten RUN --time 0.5"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.errors import RunError
from lean3d.lightening.record import UNITS, columns
from lean3d.recipes.lighten import Lighter, best_score, lighten_run
from lean3d.recipes.lighten_curve import lighten_curve
from lean3d.signals import advising

__all__ = ["main"]


@dataclass(frozen=True)
class Lighten:
    """Make the network of a run lighter, to a time that you name, and train it on.

    Attributes:
        run: Folder of a finished run.
        out: Folder of the new run; RUN_light by default.
        resume: Resume the run in the folder.
        curve: In place of one target, several shares of the run's own time: a run in OUT for each,
            and their scores against measured time as table, figure and JSON.
        single: With --curve, also by each family of cuts alone.
        scratch: Train the lighter network from random weights without a teacher, to compare.
        accelerator: Where to train: auto, cpu, gpu. Times are those of a CPU.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    how: Lighter = field(default_factory=Lighter)
    out: Path | None = None
    resume: bool = False
    curve: tuple[float, ...] = ()
    single: bool = False
    scratch: bool = False
    accelerator: str = "auto"


def main(argv: list[str]) -> None:
    asked = parse(Lighten, "lighten", argv)
    out = asked.out or _beside(asked.run)
    if asked.single and not asked.curve:
        raise RunError("--single is of a curve; add --curve with shares, or name one of --cuts")
    if asked.scratch and asked.curve:
        raise RunError("--scratch is of one target; leave out --curve")
    if asked.curve:
        _curve(asked, out)
        return
    with advising(out, "recipe.json"):
        results, record = lighten_run(
            asked.run,
            out,
            asked.how,
            resume=asked.resume,
            accelerator=asked.accelerator,
            scratch=asked.scratch,
            tell=_tell,
        )
    show_table(record["layers"], columns(record["target"]))
    score, before = results["monitor"], best_score(asked.run)[1]
    after = results["epochs"][results["best_epoch"] - 1][score]
    rows = [
        {"network": str(asked.run), "cost": record["before"], score: before},
        {"network": str(out), "cost": record["measured"], score: after},
    ]
    print()
    show_table(rows, {"network": "run", "cost": UNITS[record["target"]], score: score})
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


def _beside(run: Path) -> Path:
    """Return the folder of the new run if none is named, for `.` too."""
    named = run if run.name.strip(".") else run.resolve()
    return named.with_name(f"{named.name}_light")


def _curve(asked: Lighten, out: Path) -> None:
    settings: Any = dict(single=asked.single, accelerator=asked.accelerator, tell=_tell)
    found = lighten_curve(asked.run, out, asked.how, asked.curve, **settings)
    names = {"line": "by", "ms": "ms", "share": "share", "predicted": "predicted"}
    show_table(found.rows, names | {"score": found.monitor})
    for sentence in found.refused:
        print(f"note: {sentence}")
    print(f"the figure is {out / 'curve.png'}")
    facts = {"run": str(asked.run), "out": str(out), "monitor": found.monitor}
    show_json(facts | {"points": found.rows, "refused": found.refused})


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
