"""Segment a drawn volume block by block: time, memory, kills and workers.

    python benchmarks/neurons.py RUN --size 500 --out /scratch/neurons --results neurons.json

Draws a volume of neurites larger than the blocks, window by window, and segments it with a run of
affinities: with one process that runs through, and with two that are killed at three random moments
and go on. Both segmentations have to be equal.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np

from lean3d.data import Neurites
from lean3d.infer.chunks import make_array, open_array, write_ome
from lean3d.train.provenance import provenance

WINDOW = 125


def draw(folder: Path, size: int) -> None:
    """Write the volume and its labels as OME-Zarr."""
    neurites = Neurites(shape=(size,) * 3)
    names = {"raw.zarr": "uint8", "ids.zarr": "uint32"}
    for name, dtype in names.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        make_array(folder / name / "0", neurites.shape, (WINDOW,) * 3, dtype)
        write_ome(folder / name, neurites.voxel_nm, name)
    for corner in product(range(0, size, WINDOW), repeat=3):
        window = tuple(slice(c, min(size, c + WINDOW)) for c in corner)
        drawn = neurites.draw(corner, [s.stop - s.start for s in window])
        for name, values in zip(names, drawn, strict=True):
            open_array(folder / name / "0")[window] = values


def command(run: Path, folder: Path, out: str, more: list[str]) -> list[str]:
    """The command that segments the volume."""
    files = [str(folder / "raw.zarr"), "--out", str(folder / out), "--device", "cpu"]
    return [sys.executable, "-m", "lean3d", "segment", str(run), *files, *more]


def timed(words: list[str]) -> dict[str, float]:
    """Run a command to its end; return minutes, of the processor too, and GiB of its process."""
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "processor_minutes": round((usage.ru_utime + usage.ru_stime) / 60, 1),
        "largest_gib": round(usage.ru_maxrss / 2**20, 2),
    }


def killed(words: list[str], after: float) -> bool:
    """Kill a command, with its workers, after so many seconds; whether it was still at work."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(after)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="file of the results, JSON")
    parser.add_argument("--tile", nargs=3, default=["64", "256", "256"])
    parser.add_argument("--block", nargs=3, default=["125", "250", "250"])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if not (asked.out / "ids.zarr").exists():
        draw(asked.out, asked.size)
    more = ["--tile", *asked.tile, "--block", *asked.block, "--thresholds", "0.5"]
    row = {"size": asked.size, "tile": asked.tile, "block": asked.block, **provenance()}
    row |= timed(command(asked.run, asked.out, "whole", more))
    print(json.dumps(row), flush=True)
    drawn = random.Random(asked.seed)
    words, kills = command(asked.run, asked.out, "killed", [*more, "--workers", "2"]), 0
    for _ in range(3):
        kills += killed(words, drawn.uniform(0.1, 0.3) * 60 * row["minutes"])
    timed(words)
    arrays = [open_array(asked.out / name / "0") for name in ("whole", "killed")]
    equal = all(
        np.array_equal(*(array[z : z + WINDOW] for array in arrays))
        for z in range(0, asked.size, WINDOW)
    )
    row |= dict(kills=kills, workers=2, equal=equal)
    print(json.dumps(row))
    if asked.results is not None:
        asked.results.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
