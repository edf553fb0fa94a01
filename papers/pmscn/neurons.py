"""Neurons of the ISBI 2012 stack: `python -m papers.pmscn.neurons --data em_isbi2012 --out DIR`.

Trains a 2D and a 3D U-Net on 20 sections of the challenge's stack (raw.tif, membrane_labels.tif),
a 3D one that starts as the 2D one, and the 2D one for as long, and scores 10, beside a threshold of
the raw image. Writes isbi.json, the figure isbi.jpg and the section of README; goes on if killed.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lean3d.conversion import Inflate, convert
from lean3d.data import Volume
from lean3d.files import write_between
from lean3d.infer.decoding import drop_small
from lean3d.metrics import InstanceScores, instance_scores
from lean3d.recipes import get_recipe
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.base import Recipe
from lean3d.recipes.evaluation import evaluate
from lean3d.recipes.load import load_run
from lean3d.recipes.microscopy import em_volumes, split_sections
from lean3d.recipes.runs import run
from papers.pmscn.isbi_text import draw, section
from papers.results import Results

__all__ = ["main"]

HERE = Path(__file__).parent

# widths and crops that a core trains in a minute or two
SMALL: dict[str, Any] = dict(widths=(8, 16, 32), lr=5e-3, epochs=4)
SCORES = "vi_split", "vi_merge", "rand_f", "info_f"


def recipes(data: Path, out: Path) -> dict[str, Recipe]:
    """The recipe of each network, in the order in which they are trained."""
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
    first = f"run={_folder(out, '2D U-Net').absolute()}"
    later: dict[str, Any] = dict(widths=None, options=(first,), lr=1e-3, epochs=2)
    return {
        "2D U-Net": flat,
        "2D U-Net, longer": replace(flat, model="papers.pmscn.neurons:continued", **later),
        "3D U-Net": deep,
        "3D from the 2D U-Net": replace(deep, model="papers.pmscn.neurons:inflated", **later),
    }


def measures(data: Path, out: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures each row of the table, which keeps its segmentation in a file of `out`."""
    networks = recipes(data, out)
    any_of_them = networks["3D U-Net"]
    found = {name: partial(_network, name, one, out) for name, one in networks.items()}
    return {"raw image": partial(_threshold, any_of_them, out), **found}


def _network(name: str, recipe: Recipe, out: Path) -> dict[str, Any]:
    folder, started = _folder(out, name), time.perf_counter()
    results = run(recipe, folder, resume=folder.exists(), progress=False)
    evaluation = evaluate(folder)
    ((case, scored),) = evaluation.scored.items()
    with np.load(evaluation.out / "predictions" / f"{case}.npz") as stored:
        np.save(_segmentation(out, name), stored["label"])
    best = min(scored.rows, key=lambda row: row["vi"])
    return {
        **{key: round(best[key], 3) for key in SCORES},
        "threshold": best["threshold"],
        "steps": recipe.epochs * recipe.train_samples // recipe.batch_size,
        "parameters": sum(p.numel() for p in load_run(folder)[0].parameters()),
        "seconds an epoch": round(results["seconds_per_epoch"], 1),
        "seconds": round(time.perf_counter() - started),
    }


def continued(run: str) -> nn.Module:
    """The network of a run, to train it further."""
    return load_run(run)[0]


def inflated(run: str) -> nn.Module:
    """The 2D network of a run as a 3D one that gives its outputs, section by section, at first."""
    model, _ = load_run(run)
    return convert(model, Inflate(fill="center", keep_depth=None))


def _folder(out: Path, name: str) -> Path:
    return out / name.replace(" ", "_")


def _segmentation(out: Path, name: str) -> Path:
    return out / f"{_folder(out, name).name}.npy"


def _threshold(recipe: Recipe, out: Path) -> dict[str, Any]:
    labels, scores = thresholded(recipe)
    np.save(_segmentation(out, "raw image"), labels)
    return {key: round(getattr(scores, key), 3) for key in SCORES}


def thresholded(recipe: Recipe) -> tuple[np.ndarray, InstanceScores]:
    """Label cells that are connected above a grey value, the one that suits training best."""
    from scipy.ndimage import gaussian_filter, label

    assert isinstance(recipe, AffinityRecipe)
    (volume,) = em_volumes(recipe)
    parts = split_sections(volume, recipe.held_out)

    def scored(part: Volume, grey: float) -> tuple[np.ndarray, InstanceScores]:
        smooth = gaussian_filter(part.image[0].numpy(), (0, 2, 2))
        found, first = [], 0
        for plane in smooth:
            cells, count = label(plane > grey)
            found.append(np.where(cells > 0, cells + first, 0))
            first += count
        labels = drop_small(np.stack(found), 50)
        assert part.label is not None
        return labels, instance_scores(labels, part.label.numpy())

    greys = range(90, 190, 10)
    best = min(greys, key=lambda grey: scored(parts[0], grey)[1].vi)
    return scored(parts[1], best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of raw.tif and membrane_labels.tif"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--results", type=Path, default=HERE, help="folder of isbi.json")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = Results(asked.results / "isbi.json", SMALL)
    for name, measure in measures(asked.data, asked.out).items():
        print(results.get(name, 0, measure), flush=True)
    recipe = recipes(asked.data, asked.out)["2D U-Net"]
    assert isinstance(recipe, AffinityRecipe)
    (volume,) = em_volumes(recipe)
    _, held_out = split_sections(volume, recipe.held_out)
    found = {e["name"]: np.load(_segmentation(asked.out, e["name"])) for e in results.entries}
    draw(held_out, found, asked.results / "isbi.jpg")
    text = section(results)
    if (asked.results / "README.md").exists():
        write_between(asked.results / "README.md", "isbi", text)
    print(text)


if __name__ == "__main__":
    main()
