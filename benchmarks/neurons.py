"""Segment a drawn volume block by block: time, memory, kills and workers.

    python benchmarks/neurons.py RUN --size 500 --out /scratch/neurons

Draws a volume of neurites larger than the blocks, window by window, segments it with a run of
affinities, kills the command at three random moments and goes on, and compares the result with
that of a command that ran through, and of two workers.
"""

import argparse
import json
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


def command(run: Path, folder: Path, out: str, *more: str) -> list[str]:
    """The command that segments the volume."""
    files = [str(folder / "raw.zarr"), "--out", str(folder / out), "--device", "cpu"]
    return [sys.executable, "-m", "lean3d", "segment", str(run), *files, *more]


def timed(words: list[str]) -> tuple[float, float]:
    """Run a command to its end; return seconds and the GiB that its largest process held."""
    started, most = time.perf_counter(), 0.0
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, _held(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return time.perf_counter() - started, most


def _held(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    kilobytes = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(kilobytes[0]) / 2**20 if kilobytes else 0.0


def killed(words: list[str], after: float) -> bool:
    """Kill a command after so many seconds; return whether it was still at work."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        process.wait(after)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if not (asked.out / "ids.zarr").exists():
        draw(asked.out, asked.size)
    seconds, most = timed(command(asked.run, asked.out, "whole"))
    row = dict(size=asked.size, minutes=round(seconds / 60, 1), largest_gib=round(most, 2))
    print(json.dumps(row), flush=True)
    drawn = random.Random(asked.seed)
    words, kills = command(asked.run, asked.out, "killed"), 0
    for _ in range(3):
        kills += killed(words, drawn.uniform(0.1, 0.3) * seconds)
    timed(words)
    timed(command(asked.run, asked.out, "two", "--workers", "2"))
    first, *others = (open_array(asked.out / n / "0")[:] for n in ("whole", "killed", "two"))
    equal = [bool(np.array_equal(first, other)) for other in others]
    row |= dict(kills=kills, killed_equal=equal[0], two_workers_equal=equal[1])
    print(json.dumps(row | dict(neurons=int(first.max()))))


if __name__ == "__main__":
    main()
