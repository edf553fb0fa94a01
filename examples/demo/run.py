"""Train, compare, predict and report: what `lean3d demo` runs."""

import sys
import time
from pathlib import Path

from examples.demo.compare import METHODS, compare
from examples.demo.page import write_demo_page
from lean3d.cli.predict import segment
from lean3d.data import brain_slabs, mni152, save_image
from lean3d.errors import RunError
from lean3d.lock import held
from lean3d.report import format_table, json_line
from lean3d.signals import advising
from lean3d.train.folder import drop_leftovers

__all__ = ["run_demo"]


def run_demo(task: str, out: Path, *, resume: bool) -> None:
    """Write the runs, the mask of the held-out slab (brain) and report.html in `out`."""
    report = out / "report.html"
    if report.exists() and not resume:
        raise RunError(f"{out} holds a demo already; pass --resume, another --out, or delete it")
    start = time.perf_counter()
    methods = METHODS[task](out)
    with advising(out), held(out):
        drop_leftovers(out, (".report.*", ".held_out_*"))
        results = compare(methods, out, _say, resume=resume)
        mask = _predict_slab(out) if task == "brain" else None
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
    image, mask = out / "held_out_t1.nii.gz", out / "held_out_tissues.nii.gz"
    save_image(image, brain_slabs(mni152(2))[1])
    segment((image,), out / "acs_from_2d", mask)
    return mask


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
