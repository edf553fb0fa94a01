"""lean3d evaluate RUN, or a network with published weights"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lean3d.cli.device import find_device
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.errors import RunError

__all__ = ["main"]


@dataclass(frozen=True)
class Evaluate:
    """Score a run case by case, with intervals over the cases, and write a report.

    Attributes:
        run: Folder of a run, whose best weights are used; or a network of video by its reference,
            such as ir_csn_152, with --weights and --data.
        weights: Published weights of the network. Length and step of the clips, size, mean and
            deviation are those that they are known by, and are said.
        format: Of the weights, if their keys are ambiguous.
        widths: Channels of the stages of the network.
        options: More arguments of the network, such as skip=full.
        clip: Frames of a clip, of published weights.
        step: From each frame of a clip to the next, likewise.
        fps: Frames per second to which videos are resampled first, likewise.
        mean: Of each channel of pixels from 0 to 1, likewise.
        std: Likewise.
        data: Labelled data to evaluate on; by default the cases that the run held out, or those
            that the data's authors test on.
        labels: The labels of `data`, where these are volumes of neurons, as for training.
        against: Another run, evaluated on the same cases and compared in pairs.
        out: Folder for report.html, scores.csv, summary.json and the predictions; RUN/evaluation
            by default, runs/NETWORK for published weights, which are kept there as a run.
        overlap: Overlapping share of consecutive windows; the recipe's by default.
        batch_size: Samples, or windows, at a time; the recipe's by default.
        tolerance_mm: Distance within which surfaces agree (surface Dice); by default one voxel
            along the axis of the largest spacing.
        lesion_iou: A lesion is found if its intersection over union with the prediction is above
            this; by any overlap by default.
        clips: Of a video, at equal distances.
        crops: Of a clip: 1 in the middle, or 3 along the longer side.
        stride: Of a video, every window whose first frame is so far from the previous one.
        whole: Of a video, all frames at once, as recurrent heads take them by default.
        size: Height and width of a crop of a video; the recipe's by default.
        frames: Of a video of a person, this many at equal distances; all by default. Pairs of faces
            are scored at several, 5 25 50 100 by default.
        others_only: Search for a person among the videos that are no queries themselves.
        average: Over the clips of a video: softmax (probabilities) or logits.
        mirror: Axes (0 d, 1 h, 2 w) along which windows are mirrored as well; outputs are averaged.
        surfaces: Measure the distances of surfaces, the slowest of the scores.
        device: Where to compute, such as cuda; a GPU if there is one by default.
        devices: Processes on every machine that share the cases, one for each GPU; one, or those
            that torchrun started, by default.
        nodes: Machines; each starts the command by torchrun or srun.
        optimize: Run the network by the fastest backend; the first time every one is measured, for
            a minute or two, and the choice is kept in the run (optimized.json).
        precision: With --optimize: what convolutions are computed in. int8 is calibrated on
            training samples of the run; --against the run itself says what it costs, as the run
            that is compared with is in float32.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    weights: Path | None = None
    format: str | None = None
    widths: tuple[int, ...] | None = None
    options: tuple[str, ...] = ()
    clip: int | None = None
    step: int | None = None
    fps: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    data: str | None = None
    labels: str | None = None
    against: Path | None = None
    out: Path | None = None
    overlap: float | None = None
    batch_size: int | None = None
    tolerance_mm: float | None = None
    lesion_iou: float = 0.0
    mirror: tuple[int, ...] = ()
    surfaces: bool = True
    clips: int = 10
    crops: Literal[1, 3] = 1
    stride: int | None = None
    whole: bool = False
    size: int | None = None
    frames: tuple[int, ...] = ()
    others_only: bool = False
    average: Literal["softmax", "logits"] = "softmax"
    device: str | None = None
    devices: int | None = None
    nodes: int | None = None
    optimize: bool = False
    precision: Literal["float32", "bfloat16", "int8"] = "float32"


def main(argv: list[str]) -> None:
    asked = parse(Evaluate, "evaluate", argv)
    from lean3d.processes import reports
    from lean3d.recipes.evaluation import Settings, evaluate

    settings = Settings(
        batch_size=asked.batch_size,
        device=find_device(asked.device),
        labels=asked.labels,
        overlap=asked.overlap,
        tolerance_mm=asked.tolerance_mm,
        lesion_iou=asked.lesion_iou,
        surfaces=asked.surfaces,
        clips=asked.clips,
        crops=asked.crops,
        stride=asked.stride,
        whole=asked.whole,
        size=asked.size,
        frames=asked.frames,
        others_only=asked.others_only,
        average=asked.average,
        mirror=asked.mirror,
        optimize=asked.optimize,
        precision=asked.precision,
    )
    run, out, data = _run(asked)
    result = evaluate(
        run,
        data=data,
        against=asked.against,
        out=out,
        settings=settings,
        devices=asked.devices,
        nodes=asked.nodes,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if not reports(asked.devices, asked.nodes):
        return
    show_table(result.summary, result.columns)
    if asked.against is not None:
        print(f"\nagainst {asked.against}, difference of this less other, in pairs:")
        # the first column names what is compared: classes, cameras, or frames of a video
        group = next(iter(result.columns))
        show_table(_main_rows(result.comparison), {group: result.columns[group]} | COMPARED)
    for note in result.notes:
        print(f"note: {note}")
    print(f"the report is {result.out / 'report.html'}")
    show_json(result.facts)


def _run(asked: Evaluate) -> tuple[Path, Path | None, str | None]:
    """Return the folder of the run, that of the results, and the data."""
    network = ("weights", "format", "widths", "options", "clip", "step", "fps", "mean", "std")
    given = [name for name in network if getattr(asked, name) not in (None, ())]
    if asked.weights is None or Path(asked.run).is_dir():
        if given and Path(asked.run).is_dir():
            raise RunError(
                f"{asked.run} is a run, which has its own network; leave out --{given[0]}"
            )
        if not Path(asked.run).exists():
            raise RunError(f"{asked.run} is no run folder; a network needs --weights and --data")
        return Path(asked.run), asked.out, asked.data
    if asked.data is None:
        raise RunError(f"{asked.run} with --weights was trained on no data here; give --data")
    from lean3d.recipes.published_run import published_run

    out = asked.out or Path("runs") / re.sub(r"\W+", "_", asked.run)
    more: dict[str, Any] = {name: getattr(asked, name) for name in network if name in given}
    folder, recipe = published_run(asked.run, out / "run", data=asked.data, size=asked.size, **more)
    rate = f" at {recipe.fps:g} a second" if recipe.fps else ""
    print(
        f"lean3d: clips of {recipe.clip} frames, one of {recipe.step}{rate}, "
        f"{recipe.size} x {recipe.size}, mean {recipe.mean}, std {recipe.std}; --clip, --step, "
        "--fps, --size, --mean and --std change it",
        file=sys.stderr,
    )
    return folder, out, asked.data


COMPARED = {
    "score": "score",
    "this": "this",
    "other": "other",
    "difference": "diff.",
    "interval": "95 % CI",
    "p": "p",
    "better": "better",
    "worse": "worse",
}


def _main_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the main score, which is the first; the report has the others."""
    return [row for row in rows if row["score"] == rows[0]["score"]]
