"""Segment a CT of 512 x 512 x 400 voxels into 117 classes, and measure the memory it takes.

    python benchmarks/labels.py [--sizes 400 512 512] [--classes 117]

The network is one kernel of 1 that tells intensities apart, so that what is measured is the scan,
the windows, the choice of the classes and the way back to the scan's grid. The scan is smooth, and
every class is in the mask. All probabilities at once would take 4 bytes for each voxel and class.
"Memory" is the peak of a process of its own, Python and PyTorch included.
"""

import argparse
import datetime
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import nn

from lean3d.files import write_text
from lean3d.recipes import segment
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.report.table import format_table

SPACINGS = {"the scan's, 1 x 0.7 x 0.7 mm": None, "1.5 mm, and back": 1.5}
MEMORY = 2 << 30


def scan(width: int, height: int, depth: int) -> np.ndarray:
    """HU of -1000 to 1000 in smooth waves some 60 voxels long, (W, H, D) int16."""
    waves = [np.sin(np.arange(side) / 10 + side) for side in (width, height, depth)]
    hu = np.empty((width, height, depth), dtype=np.int16)
    for plane, wave in enumerate(waves[2]):
        hu[:, :, plane] = 1000 / 3 * (waves[0][:, None] + waves[1] + wave)
    return hu


def network(classes: int) -> nn.Module:
    """Choose the class whose intensity, of evenly spaced ones, is nearest to that of the voxel."""
    model = nn.Conv3d(1, classes, 1)
    centres = torch.linspace(-1.9, 1.9, classes)
    sharp = float(classes**2)
    with torch.no_grad():
        model.weight.copy_((2 * sharp * centres).view_as(model.weight))
        model.bias.copy_(-sharp * centres**2)
    return model


def one(sizes: list[int], classes: int, spacing_mm: float | None, folder: Path) -> dict[str, float]:
    """Write a scan, segment it in this process, and return seconds and peak memory in MiB."""
    depth, height, width = sizes
    nib.save(
        nib.Nifti1Image(scan(width, height, depth), np.diag([0.7, 0.7, 1, 1])), folder / "x.nii"
    )
    recipe = SegmentationRecipe(
        name="many",
        data="",
        num_classes=classes,
        model="",
        patch=(64, 64, 64),
        batch_size=1,
        scaling=(-1000.0, 1000.0, 0.0, 500.0),
        spacing_mm=() if spacing_mm is None else (spacing_mm,) * 3,
    )
    segment.load_run = lambda run: (network(classes), recipe)  # type: ignore[assignment]
    started = time.perf_counter()
    segmenter = segment.Segmenter(["run"], overlap=0.0, memory=MEMORY)
    found = segmenter.segment(folder / "x.nii", [folder / "m.nii.gz"])
    seconds = time.perf_counter() - started
    assert sum(found.counts.values()) == math.prod(sizes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    classes = sum(count > 0 for count in found.counts.values())
    return {"seconds": seconds, "peak_mib": peak, "classes": classes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=3, default=[400, 512, 512])
    parser.add_argument("--classes", type=int, default=117)
    parser.add_argument("--one", type=float, help="measure this spacing (0: own), print JSON")
    asked = parser.parse_args()
    if asked.one is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(one(asked.sizes, asked.classes, asked.one or None, Path(folder))))
        return
    from run import commit, hardware, markdown, results_file

    rows = []
    for name, spacing_mm in SPACINGS.items():
        command = [sys.executable, __file__, "--one", str(spacing_mm or 0)]
        command += ["--classes", str(asked.classes), "--sizes", *map(str, asked.sizes)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["classes"] == asked.classes
        all_at_once = 4 * asked.classes * math.prod(asked.sizes) / 2**20
        row = {"voxels of the run": name, "memory (MiB)": f"{found['peak_mib']:,}"}
        row |= {"all probabilities (MiB)": f"{all_at_once:,.0f}", "s": f"{found['seconds']:.0f}"}
        rows.append(row)
    print(format_table(rows))
    today = datetime.date.today()
    text = (
        f"# labels\n\n{__doc__.split(chr(10) * 2, 2)[2]}\n{hardware()}; torch {torch.__version__}; "
        f"commit {commit()}; {today}; {asked.classes} classes, "
        f"{' x '.join(map(str, asked.sizes))} voxels.\n\n{markdown(rows)}\n"
    )
    write_text(results_file("labels"), text)


if __name__ == "__main__":
    main()
