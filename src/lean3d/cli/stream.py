"""lean3d stream RUN_OR_MODEL SOURCE"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import nn

from lean3d.cli.calibration import calibration_of
from lean3d.cli.device import find_device
from lean3d.cli.live_model import LiveFlags, LiveModel, load_live
from lean3d.cli.live_output import Output, Track, out_paths
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.data.frames import FrameSource
from lean3d.data.prefetch import Prefetch
from lean3d.data.source import open_frames, public_name
from lean3d.errors import LeanError, RunError
from lean3d.infer.live import Session
from lean3d.limits import check_number
from lean3d.recipes.fast import choices_of
from lean3d.runtime import OptimizedStream, optimize
from lean3d.signals import check_stopped
from lean3d.streaming import Stream

__all__ = ["main"]

MOST = {"queue": 256, "limit": 10**15, "fps": 1000}


@dataclass(frozen=True)
class Watch(LiveFlags):
    """Classify videos frame by frame, as they run.

    Attributes:
        sources: Video files, folders of images, camera or camera:1, rtsp:// addresses, or - for
            stdin. Several run side by side as one batch.
        out: Write the video with labels, bars and a timeline (.mp4, .mkv, .avi); a folder for
            several sources.
        json: Print a line of JSON for every frame.
        raw: Stdin is bare rgb24 frames of this size, such as 640x480 or 640x480@30.
        fps: Of a folder of images; 25 by default.
        realtime: Play files at their own pace and drop the oldest frames where the model is
            slower, as with a camera. Otherwise no frame of a file is lost.
        queue: Frames decoded ahead of the model.
        limit: Stop after this many frames of each source.
        device: Where to compute, such as cuda; a GPU if there is one by default.
        optimize: Measure first how a step is fastest here; it takes a minute. A run keeps what was
            chosen for the next time.
        precision: Of --optimize: what convolutions are computed in. int8 is calibrated on
            training samples of a run.
    """

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")] = ()
    out: Path | None = None
    json: bool = False
    raw: str | None = None
    fps: float | None = None
    realtime: bool = False
    queue: int = 4
    limit: int | None = None
    device: str | None = None
    optimize: bool = False
    precision: Literal["float32", "bfloat16", "int8"] = "float32"

    def stream(self, model: nn.Module, frame: tuple[int, int, int] | None) -> Stream:
        return super().stream(model.to(find_device(self.device)), frame)


def main(argv: list[str]) -> None:
    asked = parse(Watch, "stream", argv)
    _check(asked)
    outs = out_paths(asked.out, asked.sources, asked.read())
    opened, errors = _open(asked)
    model = load_live(asked, in_channels=3)
    if asked.optimize:
        model = _optimized(asked, model, len(opened))
    numbers = list(opened)
    tracks = [Track(public_name(asked.sources[n]), opened[n].fps, outs[n]) for n in numbers]
    session = _session(asked, model, list(opened.values()))
    try:
        _watch(asked, session, tracks, model)
    finally:
        session.close()
    errors |= {numbers[place]: error for place, error in session.errors.items()}
    rows = [_row(asked, n, session, numbers, errors.get(n)) for n in range(len(asked.sources))]
    _report(asked, rows)


def _optimized(asked: Watch, model: LiveModel, streams: int) -> LiveModel:
    """Return the model with the fastest step for this many streams."""
    like = next(model.live.model.parameters(), torch.zeros(()))
    frames = torch.rand(streams, 3, model.live.chunk, *model.look.size).to(like)
    options: Any = dict(precision=asked.precision)
    if asked.precision == "int8":
        clips = calibration_of(asked, (1, 3, *model.look.size), clips=True)
        options["calibration"] = [clip.to(like) for clip in clips]
    if asked.run is not None:
        options["choices"] = choices_of(asked.run)
    live = optimize(model.live, frames, **options)
    assert isinstance(live, OptimizedStream)
    print(f"lean3d: a step {_said(live)}", file=sys.stderr)
    return replace(model, live=live)


def _said(live: OptimizedStream) -> str:
    row = next(row for row in live.rows() if row["backend"] == live.backend)
    name = live.backend if live.precision == "float32" else f"{live.backend} ({live.precision})"
    cost = f", its outputs {row['rms']:.1%} apart" if row["rms"] == row["rms"] else ""
    if row["ms"] != row["ms"]:
        return f"runs by {name}, as chosen before{cost}"
    rest = "" if live.backend == "eager" else f", {row['ms'] / row['ratio']:.1f} ms as it is"
    return f"by {name} takes {row['ms']:.1f} ms{rest}{cost}"


def _watch(asked: Watch, session: Session, tracks: list[Track], model: LiveModel) -> None:
    with Output(tracks, model.names, json=asked.json) as output:
        for answers in session:
            check_stopped()
            for answer in answers:
                output.show(answer, session)


def _check(asked: Watch) -> None:
    if not asked.sources:
        raise RunError("stream needs a source: a video file, a folder of images, camera, or -")
    if asked.sources.count("-") > 1:
        raise RunError("stdin can be one source only, got - more than once")
    if asked.raw is not None and "-" not in asked.sources:
        raise RunError("--raw is the size of frames on stdin; give - as a source")
    if asked.precision != "float32" and not asked.optimize:
        raise RunError("--precision is for --optimize; leave it out")
    for name, most in MOST.items():
        if (value := getattr(asked, name)) is not None:
            check_number(f"--{name}", value, above=True, high=most)


def _open(asked: Watch) -> tuple[dict[int, FrameSource], dict[int, LeanError]]:
    """Open sources by index; one that cannot be opened stops only itself, unless it is alone."""
    opened, errors = {}, {}
    for place, source in enumerate(asked.sources):
        try:
            opened[place] = open_frames(source, raw=asked.raw, fps=asked.fps)
        except LeanError as error:
            errors[place] = error
    check_stopped()
    if not opened:
        raise next(iter(errors.values()))
    return opened, errors


def _session(asked: Watch, model: LiveModel, opened: list[FrameSource]) -> Session:
    drop = True if asked.realtime else None
    settings: Any = dict(capacity=asked.queue, drop_oldest=drop, pace=asked.realtime)
    sources = [Prefetch(model.sample(source), **settings) for source in opened]
    return Session(model.live, sources, model.look, asked.limit)


def _row(
    asked: Watch, place: int, session: Session, numbers: list[int], error: LeanError | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"source": public_name(asked.sources[place])}
    if place in numbers:
        number = numbers.index(place)
        meter = session.meters[number]
        row |= {"frames": meter.frames, "fps": round(meter.fps, 1)}
        row |= {"median ms": round(meter.percentile(50), 2)}
        row |= {"p99 ms": round(meter.percentile(99), 2)}
        source = session.sources[number]
        row |= {"dropped": source.dropped, "damaged": source.source.damaged}
    return row | {"error": None if error is None else " ".join(str(error).split())}


def _report(asked: Watch, rows: list[dict[str, Any]]) -> None:
    """Print a table, a line of JSON and a sentence per failed source; return exit code 2 if any."""
    columns = ["source", "frames", "fps", "median ms", "p99 ms", "dropped"]
    # with --json stdout is lines of JSON alone
    show_table(rows, columns, file=sys.stderr if asked.json else sys.stdout)
    show_json({"model": asked.model, "sources": rows}, always=asked.json)
    for row in rows:
        if number := row.get("damaged"):
            print(
                f"lean3d: {row['source']}: {number} packet(s) could not be decoded; "
                "their frames are missing",
                file=sys.stderr,
            )
    failed = [row["error"] for row in rows if row["error"]]
    for sentence in failed:
        print(f"lean3d: {sentence}", file=sys.stderr)
    if failed:
        raise SystemExit(2)
