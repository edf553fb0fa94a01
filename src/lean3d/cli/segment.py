"""lean3d segment RUN VOLUME --out SEGMENTATION"""

import sys
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from lean3d.cli.device import find_device
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.errors import RunError
from lean3d.infer import dask_executor
from lean3d.recipes.neurons import SegmentSettings, segment_volume
from lean3d.signals import Stopped

__all__ = ["main"]


@dataclass(frozen=True)
class Segment:
    """Segment neurons in a volume of any size; a killed command goes on.

    Attributes:
        run: Folder of the run.
        volume: A file of a volume, such as raw.tif or file.h5:volumes/raw.
        out: The segmentation to write (uint32): OME-Zarr, or N5 or neuroglancer's format for a name
            that ends in .n5 or .precomputed.
        labels: Labels of the neurons to score against.
        workers: Processes.
        scheduler: Compute on the workers of a dask scheduler, by its address or its file.
        device: Where the network computes, such as cuda; a GPU if there is one by default.
        optimize: Run the network by the fastest backend; the first time every one is measured, for
            a minute or two, and the choice is kept in the run (optimized.json).
        keep: Keep the folder OUT.work with affinities and fragments.
    """

    run: Annotated[Path, tyro.conf.Positional]
    volume: Annotated[Path, tyro.conf.Positional]
    settings: SegmentSettings
    out: Path
    labels: Path | None = None
    workers: int = 1
    scheduler: str | None = None
    device: str | None = None
    optimize: bool = False
    keep: bool = False


def main(argv: list[str]) -> None:
    asked = parse(Segment, "segment", argv)
    if asked.workers < 1:
        raise RunError(f"--workers is 1 or more, got {asked.workers}")
    if asked.scheduler is not None and asked.workers != 1:
        raise RunError("--workers are processes of this machine; a --scheduler has its own")
    try:
        with _executor(asked.scheduler) as executor:
            found = segment_volume(
                asked.run,
                asked.volume,
                asked.out,
                asked.settings,
                labels=asked.labels,
                workers=asked.workers,
                executor=executor,
                # that of a worker is found there
                device=find_device(asked.device) if executor is None else asked.device or "auto",
                optimize=asked.optimize,
                keep=asked.keep,
                say=_say if sys.stderr.isatty() else None,
            )
    except Stopped as stopped:
        stopped.advice = "the same command goes on"
        raise
    rows = [_row(threshold, scores) for threshold, scores in found.scores.items()]
    if rows:
        show_table(rows)
    at = "" if found.threshold is None else f", merged at {found.threshold:g}"
    print(f"{found.instances:,} neurons of {found.fragments:,} fragments{at}, in {asked.out}")
    record: dict[str, Any] = dict(out=str(asked.out), run=str(asked.run))
    record |= dict(neurons=found.instances, fragments=found.fragments, threshold=found.threshold)
    show_json(record | ({"scores": rows} if rows else {}))


def _executor(scheduler: str | None) -> AbstractContextManager[Executor | None]:
    return nullcontext() if scheduler is None else dask_executor(scheduler)


def _row(threshold: float | None, scores: Any) -> dict[str, Any]:
    first = {} if threshold is None else {"threshold": threshold}
    return first | {
        "VI split": round(scores.vi_split, 4),
        "VI merge": round(scores.vi_merge, 4),
        "VI": round(scores.vi, 4),
        "ARAND": round(scores.arand, 4),
        "V-Rand": round(scores.rand_f, 4),
        "V-Info": round(scores.info_f, 4),
    }


def _say(stage: str, done: int, blocks: int) -> None:
    end = "\n" if done == blocks else ""
    print(f"\r{stage}: {done} of {blocks}", end=end, file=sys.stderr, flush=True)
