"""lean3d predict IMAGE --run RUN --out MASK"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lean3d.cli.device import find_device
from lean3d.cli.parse import parse
from lean3d.cli.show import failures, show_json, show_table
from lean3d.cli.sources import run_files
from lean3d.data.formats.registry import check_endings, find_writer, is_scan, split, stem
from lean3d.errors import RunError
from lean3d.files import check_outputs
from lean3d.limits import check_number
from lean3d.metrics import unit_of

__all__ = ["main", "segment"]

# names in JSON of the units of volume
KEYS = {"mL": "volume_ml", "µm³": "volume_um3", "nm³": "volume_nm3"}


@dataclass(frozen=True)
class Predict:
    """Segment a scan, or a folder of them, with trained runs, on the scan's grid.

    Runs that classify volumes write a .csv with a line for each scan.

    Attributes:
        image: A scan of any format (docs/data.md), or one for each channel in order, or a folder of
            scans. A folder whose masks were begun goes on.
        run: Folder of the run; given several times, their probabilities are averaged.
        out: The mask to write (.nii.gz, .nii, .tif, .nrrd, .mha, .npy, .zarr, or .dcm for
            DICOM-SEG), or the folder for masks of a folder. A run of several masks writes
            NAME_MASK for each.
        ending: Formats of a folder's masks, or more formats of the mask; .nii.gz by default.
        overlap: Overlapping share of consecutive windows; the recipe's by default.
        batch_size: Windows at a time; the recipe's by default.
        device: Where to compute, such as cuda; a GPU if there is one by default.
        largest: Keep only the largest piece of each class.
        fill: Fill holes of each class.
        mirror: Axes (0 d, 1 h, 2 w) along which windows are mirrored as well; outputs are averaged.
        optimize: Run the network by the fastest backend; the first time every one is measured, for
            a minute or two, and the choice is kept in the run (optimized.json).
        precision: With --optimize: what convolutions are computed in. int8 is calibrated on
            training samples of the run; lean3d evaluate says what it costs.
        memory_gb: Gigabytes to work in, such as 2: with less, scans are kept in files beside the
            mask and more windows are computed twice; what is free by default.
        probabilities: Also write the probabilities of the classes, as NAME_probabilities.nii.gz.
    """

    image: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Path
    run: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    ending: tuple[str, ...] = ()
    overlap: float | None = None
    batch_size: int | None = None
    device: str | None = None
    largest: bool = False
    fill: bool = False
    mirror: tuple[int, ...] = ()
    optimize: bool = False
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    memory_gb: float | None = None
    probabilities: bool = False


def main(argv: list[str]) -> None:
    asked = parse(Predict, "predict", argv)
    if not asked.image:
        raise RunError("predict needs an image; give a scan, or a folder of scans")
    if not asked.run:
        raise RunError("required: --run, the folder of a trained run; see lean3d predict --help")
    check_endings(asked.ending)
    if asked.precision != "float32" and not asked.optimize:
        raise RunError(f"--precision {asked.precision} is for --optimize; give both")
    if asked.memory_gb is not None:
        check_number("--memory-gb", asked.memory_gb, above=True)
    from lean3d.recipes.found import Held

    # said at once, or after a second: loading the networks takes several
    with Held(_tell, hold=not sys.stdout.isatty()) as say:
        if _classifies(asked.run[0]):
            _classes(asked, say)
            return
        from lean3d.recipes.segment import recipe_that_segments

        for run in asked.run:
            recipe_that_segments(run)
        if len(asked.image) == 1 and _is_folder(asked.image[0]):
            _folder(asked, say)
        else:
            _scan(asked, say)


def segment(image: tuple[Path, ...], run: Path, out: Path, **settings: Any) -> tuple[str, ...]:
    """Segment image files into a mask file by a run's best weights; return the class names."""
    from lean3d.recipes.segment import Segmenter

    segmenter = Segmenter([run], **settings)
    segmenter.segment(_one(image), [out])
    return segmenter.recipe.names


def _scan(asked: Predict, say: Any) -> None:
    outputs, scores = _outputs(asked)
    from lean3d.recipes.segment import described

    say(f"{asked.image[0]}: {described(_one(asked.image))}")
    segmenter = _segmenter(asked)
    files = [file for path in outputs for file in segmenter.written(path)]
    if files != outputs:
        check_outputs({f"--out ({file.name})": file for file in files}, _sources(asked))
    found = segmenter.segment(_one(asked.image), outputs, scores)
    say.release()
    if found.said:
        print(found.said, file=sys.stderr)
    unit = None if found.spacing_mm is None else unit_of(found.spacing_mm)
    rows: list[dict[str, Any]] = []
    for name, voxels in found.counts.items():
        rows.append({"class": name, "voxels": voxels})
        if unit is not None and found.spacing_mm is not None:
            depth, height, width = found.spacing_mm
            volume = voxels * depth * height * width * unit.per_mm3
            rows[-1][f"volume ({unit.volume})"] = round(volume, 3)
    show_table(rows[1:])
    masks = [str(path) for path in segmenter.written(asked.out)]
    print(f"the mask is {masks[0]}" if len(masks) == 1 else f"the masks are {', '.join(masks)}")
    record: dict[str, Any] = {"mask": masks[0], "run": _runs(asked)}
    if len(masks) > 1:
        record["masks"] = masks
    if unit is not None:
        column = f"volume ({unit.volume})"
        record[KEYS[unit.volume]] = {row["class"]: row[column] for row in rows}
    else:
        record["voxels"] = found.counts
    show_json(record)


def _folder(asked: Predict, say: Any) -> None:
    from lean3d.recipes.batch import find_scans, segment_folder

    scans = find_scans(asked.image[0])
    if stem(asked.out) != asked.out.name and not asked.out.is_dir():
        raise RunError(
            f"--out {asked.out} has the name of one mask, and {asked.image[0]} is a folder of "
            "scans; give the folder for their masks"
        )
    say(f"{len(scans)} scan(s) of {asked.image[0]}, masks in {asked.out}")
    batch = segment_folder(
        _segmenter(asked),
        asked.image[0],
        asked.out,
        endings=asked.ending or (".nii.gz",),
        probabilities=asked.probabilities,
        say=say,
    )
    say.release()
    if batch.failed:
        raise RunError(failures(batch.failed, len(batch.done) + len(batch.failed), "have no mask"))
    names = list(next(iter(batch.done.values())))
    rows = [
        {"class": name, "scans with it": sum(1 for c in batch.done.values() if c.get(name))}
        for name in names[1:]
    ]
    show_table(rows)
    print(f"{len(batch.done)} masks are in {asked.out}, {len(batch.skipped)} were there before")
    show_json(
        {
            "masks": str(asked.out),
            "run": _runs(asked),
            "cases": len(batch.done),
            "skipped": len(batch.skipped),
        }
    )


def _tell(line: str) -> None:
    print(line, flush=True)


def _classifies(run: Path) -> bool:
    """Whether a run classifies whole volumes."""
    from lean3d.recipes.load import read_record

    return read_record(run)["recipe"].get("task") == "volume_classification"


def _classes(asked: Predict, say: Any) -> None:
    from lean3d.cli.classify import classify_scans
    from lean3d.recipes.batch import find_scans

    if len(asked.image) == 1 and _is_folder(asked.image[0]):
        scans = find_scans(asked.image[0])
    else:
        scans = {stem(asked.image[0]): _one(asked.image)}
    say(f"{len(scans)} scan(s) of {asked.image[0]}")
    device, speed = find_device(asked.device), (asked.optimize, asked.precision)
    classify_scans(scans, asked.run, asked.out, device, *speed, done=say.release)


def _segmenter(asked: Predict) -> Any:
    device = find_device(asked.device)
    from lean3d.recipes.segment import Segmenter

    names = "overlap", "batch_size", "largest", "fill", "mirror", "optimize", "precision"
    settings = {name: getattr(asked, name) for name in names}
    memory = None if asked.memory_gb is None else int(1e9 * asked.memory_gb)
    return Segmenter(asked.run, device=device, memory=memory, **settings)


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder of scans, and not one scan such as a DICOM series."""
    return split(path)[1] is None and path.is_dir() and not is_scan(path)


def _outputs(asked: Predict) -> tuple[list[Path], Path | None]:
    """Refuse before the work what would fail, or destroy files, after it."""
    find_writer(asked.out)
    ends = [end for end in (".nii.gz", asked.out.suffix) if asked.out.name.endswith(end)]
    name = asked.out.name.removesuffix(ends[0])
    outputs = [asked.out, *(asked.out.with_name(name + ending) for ending in asked.ending)]
    scores = asked.out.with_name(f"{name}_probabilities.nii.gz") if asked.probabilities else None
    flags: dict[str, Path | None] = {"--out": asked.out, "--probabilities": scores}
    flags |= {f"--ending {e}": p for e, p in zip(asked.ending, outputs[1:], strict=True)}
    check_outputs(flags, _sources(asked))
    from lean3d.data.mask import check_masks

    check_masks(outputs, _one(asked.image))
    return outputs, scores


def _sources(asked: Predict) -> dict[str, list[Path]]:
    """Return the files that no output may replace."""
    files = [file for run in asked.run for file in run_files(run)]
    return {"image": [split(path)[0] for path in asked.image], "run's own file": files}


def _one(image: tuple[Path, ...]) -> Any:
    return image[0] if len(image) == 1 else image


def _runs(asked: Predict) -> str | list[str]:
    return str(asked.run[0]) if len(asked.run) == 1 else [str(run) for run in asked.run]
