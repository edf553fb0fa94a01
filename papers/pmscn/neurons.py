"""Neurons of the ISBI 2012 stack: `python -m papers.pmscn.neurons --data em_isbi2012 --out DIR`.

Trains a 2D and a 3D U-Net on 20 sections of the challenge's stack (raw.tif, membrane_labels.tif),
and a 3D one that starts as the 2D one, and scores 10, beside a threshold of the raw image.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lean3d.conversion import Inflate, convert
from lean3d.infer.decoding import drop_small
from lean3d.metrics import InstanceScores, instance_scores
from lean3d.recipes import get_recipe
from lean3d.recipes.evaluation import evaluate
from lean3d.recipes.load import load_run
from lean3d.recipes.microscopy import em_volumes, split_sections
from lean3d.recipes.runs import run
from lean3d.report import format_table

__all__ = ["main"]

# widths and crops that a core trains in a minute or two
SMALL: dict[str, Any] = dict(widths=(8, 16, 32), lr=5e-3, epochs=4)


def isbi(data: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for the raw image and for each network."""
    stack: dict[str, Any] = dict(
        data=str(data / "raw.tif"),
        labels=str(data / "membrane_labels.tif"),
        membranes=True,
        channels=("y1", "x1"),
        held_out=0.3333,
        voxel_nm=(50.0, 4.0, 4.0),
        sections=True,
    )
    deep = replace(
        get_recipe("em_short"),
        **SMALL | stack,
        model="unet3d",
        keep_depth=0,
        options=("skip=full", "narrow=true", "keep_depth=2"),
        patch=(4, 96, 96),
        batch_size=1,
        train_samples=60,
        val_samples=6,
    )
    flat = replace(
        get_recipe("em_sections"),
        **SMALL | stack,
        keep_depth=0,
        patch=(96, 96),
        batch_size=4,
        train_samples=240,
        val_samples=24,
    )
    tuned = replace(
        deep,
        model="papers.pmscn.neurons:inflated",
        widths=None,
        options=(f"run={_folder(out, '2D U-Net').absolute()}",),
        lr=1e-3,
        epochs=2,
    )
    yield {"method": "raw, threshold", **_row(_thresholded(deep))}
    recipes = {"2D U-Net": flat, "3D U-Net": deep, "3D from the 2D U-Net": tuned}
    for name, recipe in recipes.items():
        folder = _folder(out, name)
        run(recipe, folder, resume=folder.exists())
        best = _best(folder)
        shown = {key: round(best[key], 3) for key in ("vi_split", "vi_merge", "rand_f", "info_f")}
        yield {"method": name, **shown, "at": best["threshold"]}


def inflated(run: str) -> nn.Module:
    """The 2D network of a run as a 3D one that gives its outputs, section by section, at first."""
    model, _ = load_run(run)
    return convert(model, Inflate(fill="center", keep_depth=None))


def _folder(out: Path, name: str) -> Path:
    return out / name.replace(" ", "_")


def _best(folder: Path) -> dict[str, Any]:
    """Return the scores of the held-out sections at their best threshold."""
    (scored,) = evaluate(folder).scored.values()
    return min(scored.rows, key=lambda row: row["vi"])


def _thresholded(recipe: Any) -> InstanceScores:
    """Score cells that are connected above a grey value, the one that suits training best."""
    from scipy.ndimage import gaussian_filter, label

    (volume,) = em_volumes(recipe)
    parts = split_sections(volume, recipe.held_out)

    def scored(part: Any, grey: float) -> InstanceScores:
        smooth = gaussian_filter(part.image[0].numpy(), (0, 2, 2))
        found, first = [], 0
        for section in smooth:
            cells, count = label(section > grey)
            found.append(np.where(cells > 0, cells + first, 0))
            first += count
        return instance_scores(drop_small(np.stack(found), 50), part.label.numpy())

    greys = range(90, 190, 10)
    best = min(greys, key=lambda grey: scored(parts[0], grey).vi)
    return scored(parts[1], best)


def _row(scores: InstanceScores) -> dict[str, Any]:
    names = ("vi_split", "vi_merge", "rand_f", "info_f")
    return {name: round(getattr(scores, name), 3) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of raw.tif and membrane_labels.tif"
    )
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in isbi(asked.data, asked.out):
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(format_table(rows))


if __name__ == "__main__":
    main()
