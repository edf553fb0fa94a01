"""Segment a folder of scans into a folder of masks; a run that is killed goes on where it was."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lean3d.data.folder import CHANNEL, ImagePath, scans_in
from lean3d.data.formats.registry import check_endings, stem
from lean3d.data.stamp import stamp_of
from lean3d.errors import DataError, LeanError, RunError
from lean3d.files import write_text, write_whole
from lean3d.lock import held
from lean3d.recipes.load import weights_of
from lean3d.recipes.segment import Segmented, Segmenter

__all__ = ["Batch", "find_scans", "segment_folder"]

RECORD = "predictions.json"


@dataclass(frozen=True)
class Batch:
    """What was done.

    Args:
        done: Name -> voxels of each class, of every scan of the folder that has a mask now.
        skipped: Those of them that had one before.
        failed: Name -> why there is none.
    """

    done: dict[str, dict[str, int]]
    skipped: list[str]
    failed: dict[str, str]


def find_scans(folder: Path) -> dict[str, ImagePath]:
    """Return the scans of a folder by name; case_0000, case_0001, ... are channels of one.

    In a folder without scans, those of its imagesTs or images are taken.

    Raises:
        DataError: there is none.
    """
    found = scans_in(folder)
    for name in ("imagesTs", "images", "imagesTr"):
        if not found and (folder / name).is_dir():
            found = scans_in(folder / name)
    if not found:
        raise DataError(f"{folder} holds no scan of a known format; give a folder of scans")
    names = {stem(path) for path in found}
    cases: dict[str, list[Path]] = {}
    for path in found:
        base = CHANNEL.sub("", stem(path))
        cases.setdefault(base if f"{base}_0000" in names else stem(path), []).append(path)
    return {name: tuple(p) if len(p) > 1 else p[0] for name, p in sorted(cases.items())}


def segment_folder(
    segmenter: Segmenter,
    folder: str | Path,
    out: str | Path,
    *,
    endings: Sequence[str] = (".nii.gz",),
    probabilities: bool = False,
    say: Callable[[str], None] | None = None,
) -> Batch:
    """Segment every scan of a folder; scans that are done, and as they were, are skipped.

    The folder gets NAME and each ending, NAME_probabilities.nii.gz if asked for, and
    predictions.json: what was asked, and the voxels of each class in every case. A case that
    fails is reported, and the others are segmented.

    Raises:
        RunError: the folder holds masks of other runs or settings, or files of another program.
    """
    scans, out = find_scans(Path(folder)), Path(out)
    check_endings(endings)
    if out.resolve() == Path(folder).resolve():
        raise RunError(f"--out {out} is the folder of the scans; give another folder")
    asked = _asked(segmenter, endings, probabilities)
    with held(out):
        record = _record(out, asked, {n: _files(segmenter, out, n, endings) for n in scans})
        batch, stamps = Batch({}, [], {}), record.setdefault("scans", {})
        for place, (name, image) in enumerate(scans.items(), 1):
            masks = [out / f"{name}{ending}" for ending in endings]
            files = _files(segmenter, out, name, endings)
            stamp, before = stamp_of(image), record["cases"].pop(name, None)
            same = stamps.pop(name, stamp) == stamp  # older records have no stamps
            if before is not None and same and all(file.exists() for file in files):
                record["cases"][name] = batch.done[name] = before
                stamps[name] = stamp
                batch.skipped.append(name)
                continue
            scores = out / f"{name}_probabilities.nii.gz" if probabilities else None
            try:
                found = segmenter.segment(image, masks, scores)
            except LeanError as error:
                batch.failed[name] = str(error)
                if before is not None:
                    write_text(out / RECORD, json.dumps(record, indent=1) + "\n")
                _tell(say, f"{place}/{len(scans)} {name}: {error}")
                continue
            record["cases"][name] = batch.done[name] = found.counts
            stamps[name] = stamp
            write_text(out / RECORD, json.dumps(record, indent=1) + "\n")
            _tell(say, _line(place, len(scans), name, found))
    return batch


def _line(place: int, of: int, name: str, found: Segmented) -> str:
    return f"{place}/{of} {name}" + (f": {found.said}" if found.said else "")


def _tell(say: Callable[[str], None] | None, line: str) -> None:
    if say is not None:
        say(line)


def _asked(segmenter: Segmenter, endings: Sequence[str], probabilities: bool) -> dict[str, Any]:
    """Everything that decides what is in the masks."""
    runs = [Path(run) for run in segmenter.runs]
    single = segmenter.precision == "float32"
    return ({} if single else {"precision": segmenter.precision}) | {
        "runs": [str(run.resolve()) for run in runs],
        "trained": [weights_of(run).stat().st_mtime_ns for run in runs],
        "overlap": segmenter.overlap,
        "largest": segmenter.largest,
        "fill": segmenter.fill,
        "mirror": list(segmenter.mirror),
        "endings": list(endings),
        "probabilities": probabilities,
    }


def _files(segmenter: Segmenter, out: Path, name: str, endings: Sequence[str]) -> list[Path]:
    """Return the files that the mask of a case is written to."""
    return [file for ending in endings for file in segmenter.written(out / f"{name}{ending}")]


def _record(out: Path, asked: dict[str, Any], files: Mapping[str, list[Path]]) -> dict[str, Any]:
    """Return the record of a folder that was begun, or of a new one.

    Args:
        files: Those of the masks, by case.
    """
    path = out / RECORD
    if path.is_file():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            same, cases = record["asked"] == asked, record["cases"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"cannot read {path} ({error}); give another --out") from error
        if not same or not isinstance(cases, dict):
            raise RunError(
                f"{out} holds masks of other runs or settings; give another --out, or remove it"
            )
        return record
    for masks in files.values():
        for mask in masks:
            if mask.exists():
                raise RunError(f"{mask} was not written by this command; give another --out")
    record = {"asked": asked, "cases": {}}
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    return record
