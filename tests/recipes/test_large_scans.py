"""Memory of a large scan with many classes, measured in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from pathlib import Path
import nibabel as nib, numpy as np, torch
from torch import nn
from lean3d.recipes import segment
from lean3d.recipes.segmentation import SegmentationRecipe

folder, *sizes = sys.argv[1:]
depth, height, width = map(int, sizes)
random = np.random.default_rng(0)
hu = random.integers(-1000, 1000, (width, height, 1), dtype=np.int16).repeat(depth, 2)
nib.save(nib.Nifti1Image(hu, np.diag([0.7, 0.7, 1, 1])), f"{folder}/x.nii")
del hu
recipe = SegmentationRecipe(
    name="many", data="", num_classes=117, model="", patch=(64, 64, 64), batch_size=1,
    scaling=(-1000.0, 1000.0, 0.0, 500.0), spacing_mm=SPACING,
)
model = nn.Conv3d(1, 117, 1)
segment.load_run = lambda run: (model, recipe)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = segment.Segmenter(["run"], overlap=0.0).segment(
    Path(folder) / "x.nii", [f"{folder}/m.nii.gz"]
)
print(before >> 10, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
assert sum(found.counts.values()) == depth * height * width
"""


@pytest.mark.slow
@pytest.mark.parametrize("spacing_mm", ["None", "(1.5, 1.5, 1.5)"])
def test_117_classes_of_a_large_ct_fit_in_2_gb(tmp_path, spacing_mm):
    program = PROGRAM.replace("SPACING", spacing_mm)
    command = [sys.executable, "-c", program, str(tmp_path), "400", "512", "512"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    _, peak_mib = map(int, done.stdout.split())
    assert peak_mib < 2000
