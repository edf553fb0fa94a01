"""Memory of a large scan with many classes, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LABELS = Path(__file__).parents[2] / "benchmarks" / "labels.py"


def peak_mib(spacing_mm, *more):
    command = [sys.executable, str(LABELS), "--one", str(spacing_mm), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])["peak_mib"]


@pytest.mark.slow
@pytest.mark.parametrize("spacing_mm", [0, 1.5])
def test_117_classes_of_a_large_ct_fit_in_2_gb(spacing_mm):
    assert peak_mib(spacing_mm) < 2000
