"""Train a 2D U-Net on slices of a scan, convert it to 3D, and score slabs that neither has seen.

    python benchmarks/real_scans.py [--ct IMAGE LABEL]

Every step is a command that is printed. A scan is cut into five slabs with gaps between; two of
them, drawn by the seed, are held out. The 3D networks have the same widths, crops and epochs; "from
slices" starts with the weights of the 2D network, "from scratch" with random ones. Dice is that of
`lean3d evaluate`, on each held-out slab as a whole.
"""

import argparse
import csv
import datetime
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from run import commit, hardware, markdown, results_file

from lean3d.data import Volume
from lean3d.files import write_text, write_whole
from lean3d.recipes.cases import split_cases
from lean3d.recipes.load import read_record
from lean3d.recipes.runs import load_run
from lean3d.report import draw_overlay
from lean3d.report.table import format_table

HOME = Path(__file__).parents[1]
SLABS = "--slabs 5 --held-out 0.4 --validate cases"
SMALL = "--widths 16 32 64 --options skip=full"
# network -> the recipe for the brain, that for a folder, and the flags of both
NETWORKS = {
    "2D, slice by slice": ("brain2d", "slices", ""),
    "ACS, from slices": ("brain_acs", "from_slices", "--start-from {runs}/2d-slice-by-slice"),
    "ACS, from scratch": ("brain_acs", "from_slices", "--start-from None"),
}
FLAGS = {
    "brain": ("--epochs 12 --val-every 3", "--epochs 12 --val-every 3"),
    "ct": (
        "--hu -1000 1000 --patch 64 64 --train-samples 256 --epochs 6 --val-every 3",
        "--hu -1000 1000 --patch 32 32 32 --train-samples 64 --batch-size 4 --keep-depth 0 "
        "--epochs 6 --val-every 3",
    ),
}


def commands(scan: str, data: str, runs: Path) -> list[tuple[str, Path, str]]:
    """The network, its run, and the command that trains it."""
    found = []
    for name, (brain, folder, more) in NETWORKS.items():
        run = runs / re.sub(r"[^a-z0-9]+", "-", name.lower())
        recipe = f"{brain} " if scan == "brain" else f"{folder} --data {data} "
        flags = FLAGS[scan][0 if run.name.startswith("2d") else 1]
        more = more.format(runs=runs)
        found.append(
            (name, run, f"train {recipe}{SLABS} {SMALL} {flags} {more} --out {run}".strip())
        )
    return found


def lean3d(line: str) -> None:
    """Run a command as a user types it."""
    print(f"lean3d {line}", flush=True)
    subprocess.run([sys.executable, "-m", "lean3d", *shlex.split(line)], check=True)


def _finished(run: Path) -> bool:
    path = run / "metrics.json"
    return path.is_file() and json.loads(path.read_text())["finished"]


def measure(scan: str, data: str, runs: Path, finished: bool) -> list[dict[str, str]]:
    """Train and evaluate all networks on a scan."""
    rows = []
    for name, run, line in commands(scan, data, runs):
        if finished and not _finished(run):
            continue
        if not _finished(run):
            lean3d(f"{line} --resume" if run.is_dir() else line)
        other = "" if name.startswith("2D") else f" --against {runs}/2d-slice-by-slice"
        if not (run / "evaluation" / "summary.json").is_file():
            lean3d(f"evaluate {run}{other}")
        with (run / "evaluation" / "scores.csv").open(newline="") as file:
            scores = list(csv.DictReader(file))
        slabs = sorted({row["case"] for row in scores})
        dice = {
            slab: float(np.mean([float(r["dice"]) for r in scores if r["case"] == slab]))
            for slab in slabs
        }
        model, _ = load_run(run)
        row = {"scan": scan, "network": name}
        row |= {f"slab {place + 1}": f"{dice[slab]:.3f}" for place, slab in enumerate(slabs)}
        row |= {"mean Dice": f"{np.mean(list(dice.values())):.3f}"}
        rows.append(row | {"params": f"{sum(p.numel() for p in model.parameters()):,}"})
    return rows


def picture(run: Path, path: Path) -> None:
    """Draw the first held-out slab: truth, prediction and errors."""
    record = read_record(run)
    _, recipe = load_run(run)
    case = split_cases(recipe, record["split"]).held_out[0]
    volume: Volume = case.read(recipe.sides_mm)
    with np.load(run / "evaluation" / "predictions" / f"{case.name}.npz") as stored:
        found = torch.from_numpy(stored["label"].astype(np.int64))
    assert volume.label is not None
    figure = draw_overlay(
        volume.image[0],
        volume.label,
        found,
        spacing=volume.spacing,
        class_names=recipe.names,
        window=recipe.hu,
    )
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ct", nargs=2, type=Path, metavar=("IMAGE", "LABEL"))
    parser.add_argument("--finished", action="store_true", help="report what was trained before")
    parser.add_argument("--out", type=Path, default=Path("runs/real_scans"))
    asked = parser.parse_args()
    rows = []
    if asked.ct:
        data = asked.out / "data"
        for part, file in zip(("images", "labels"), asked.ct, strict=True):
            (data / part).mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, data / part / "ct.nii.gz")
        rows += measure("ct", str(data), asked.out / "ct", asked.finished)
        picture(asked.out / "ct" / "acs-from-slices", HOME / "docs" / "real_ct.png")
    rows += measure("brain", "mni152", asked.out / "brain", asked.finished)
    picture(asked.out / "brain" / "acs-from-slices", HOME / "docs" / "real_brain.png")
    print(format_table(rows))
    today = datetime.date.today()
    done = {(row["scan"], row["network"]) for row in rows}
    typed = "\n".join(
        f"lean3d {line}"
        for scan in FLAGS
        for name, _, line in commands(scan, "DIR", Path("runs") / scan)
        if (scan, name) in done
    )
    text = (
        f"# real scans\n\n{__doc__.split(chr(10) * 2, 2)[2]}\n{hardware()}, "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} thread(s); torch {torch.__version__}; "
        f"commit {commit()}; {today}; one seed.\n\n{markdown(rows)}\n\n"
        f"```bash\n{typed}\n```\n"
    )
    write_text(results_file("real_scans"), text)


if __name__ == "__main__":
    main()
