"""lean3d demo"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lean3d.cli.parse import parse
from lean3d.errors import RunError
from lean3d.lock import held
from lean3d.report import format_table, json_line
from lean3d.signals import advising

__all__ = ["main"]


@dataclass(frozen=True)
class Demo:
    """Train a 2D UNet, convert it to 3D, and compare five 3D networks in one report.

    Attributes:
        task: brain takes minutes; shapes, the proof of concept of the ACS paper, half an hour.
        out: Folder for the runs, the predicted mask and the report; runs/TASK by default.
        resume: Continue an earlier demo in the folder, if there is one.
    """

    task: Literal["brain", "shapes"] = "brain"
    out: Path | None = None
    resume: bool = False


def main(argv: list[str]) -> None:
    asked = parse(Demo, "demo", argv)
    out = asked.out or Path("runs") / asked.task
    report = out / "report.html"
    if report.exists() and not asked.resume:
        raise RunError(f"{out} holds a demo already; pass --resume, another --out, or delete it")
    from lean3d.cli.demo_page import write_demo_page
    from lean3d.recipes.compare import METHODS, compare
    from lean3d.train.folder import drop_leftovers

    start = time.perf_counter()
    methods = METHODS[asked.task](out)
    with advising(out), held(out):
        drop_leftovers(out, (".report.*", ".held_out_*"))
        results = compare(methods, out, _say, resume=asked.resume)
        mask = _predict_slab(out) if asked.task == "brain" else None
        minutes = (time.perf_counter() - start) / 60
        write_demo_page(report, methods, results, mask, minutes)
    rows = [result.row for result in results]
    print(format_table(rows))
    print(
        f"done in {minutes:.1f} minutes" + (f"; the predicted tissues are {mask}" if mask else "")
    )
    print(f"the report is {report}")
    print(json_line(rows))


def _predict_slab(out: Path) -> Path:
    """Segment the held-out slab as a user would: `lean3d predict`, from NIfTI to NIfTI."""
    from lean3d.cli.predict import segment
    from lean3d.data import brain_slabs, mni152, save_image

    image, mask = out / "held_out_t1.nii.gz", out / "held_out_tissues.nii.gz"
    save_image(image, brain_slabs(mni152(2))[1])
    segment((image,), out / "acs_from_2d", mask)
    return mask


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
