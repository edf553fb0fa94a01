"""The scans of a segmentation run, resampled and scaled: in memory, or kept in files of a folder.

Crops are read from the files, so that a data set may be larger than memory, and the next run with
the same data and settings begins at once.

Axes: C channels, D depth, H height, W width.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lean3d import __version__
from lean3d.data import Volume
from lean3d.errors import DataError, RunError
from lean3d.limits import check_memory
from lean3d.recipes.cases import Case
from lean3d.recipes.intensity import scaled
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["prepared"]

FACTS = "facts.json"


def prepared(recipe: SegmentationRecipe, cases: Sequence[Case], others: int = 0) -> list[Volume]:
    """Return the cases at the run's spacing and scale, labels as bytes.

    Args:
        others: Cases that are read besides.

    Raises:
        LeanError: they do not fit in memory, and the recipe has no cache.
    """
    if recipe.cache is not None:
        return [_stored(recipe, case, Path(recipe.cache).expanduser()) for case in cases]
    found: list[Volume] = []
    for place, case in enumerate(cases):
        found.append(_made(recipe, case))
        mean = sum(volume.image.nbytes + _labels(volume).nbytes for volume in found) / len(found)
        left = len(cases) + others - place - 1
        remedy = "pass --cache DIR to keep the prepared scans in files there"
        check_memory(f"{left} more scans of {recipe.data}", int(mean * left), remedy)
    return found


def _made(recipe: SegmentationRecipe, case: Case) -> Volume:
    volume = case.read(recipe.sides_mm)
    if (found := len(volume.image)) != recipe.in_channels:
        raise RunError(
            f"the images of {Path(recipe.data).name} have {found} channels and the recipe "
            f"{recipe.in_channels}; pass --in-channels {found}"
        )
    volume = scaled(recipe, volume)
    # there are at most 256 classes
    return replace(volume, label=_labels(volume).to(torch.uint8))


def _stored(recipe: SegmentationRecipe, case: Case, cache: Path) -> Volume:
    """Return a case from the cache, where it is put if it is not there."""
    names = ["data", "sides_mm", "scaling", "label_values", "num_classes", "masks"]
    names += ["slabs", "held_out", "folds"]
    asked = [case.name, case.stamp, __version__, *(getattr(recipe, name) for name in names)]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    folder = cache / f"{case.name}-{key}"
    if not (folder / FACTS).is_file():
        _store(_made(recipe, case), folder)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        # copies of what is written to, which nothing does
        image, label = (
            torch.from_numpy(np.load(folder / f"{part}.npy", mmap_mode="c"))
            for part in ("image", "label")
        )
        affine = np.array(facts["affine"])
        return Volume(image, label, affine, case.name, facts["modality"], facts["placed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} is damaged ({str(error).splitlines()[0][:120]}); remove it, and it is made "
            "again"
        ) from error


def _store(volume: Volume, folder: Path) -> None:
    """Write a volume to a folder that is there as a whole or not at all."""
    facts = {
        "affine": volume.affine.tolist(),
        "modality": volume.modality,
        "placed": volume.placed,
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".lean3d-", dir=folder.parent) as name:
            place = Path(name) / folder.name
            place.mkdir()
            np.save(place / "image.npy", volume.image.contiguous().numpy())
            np.save(place / "label.npy", _labels(volume).contiguous().numpy())
            (place / FACTS).write_text(json.dumps(facts), encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(place, folder)
    except OSError as error:
        if (folder / FACTS).is_file():
            return  # another run was quicker
        raise DataError(f"cannot write to the cache {folder.parent}: {error.strerror}") from error


def _labels(volume: Volume) -> torch.Tensor:
    assert volume.label is not None
    return volume.label
