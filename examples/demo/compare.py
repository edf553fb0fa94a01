"""The same network with five operators: 2D pretraining, then five ways to train in 3D.

The brain is the main task of lean3d; the shapes are the proof of concept of Yang et al. (ACS),
arXiv:1911.10477, Appendix B, with narrower networks and fewer epochs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from examples.demo.own_process import in_own_process
from lean3d.cost import count
from lean3d.metrics import confusion_counts, dice_of_counts
from lean3d.recipes.catalogue.brain import brain2d, brain3d
from lean3d.recipes.catalogue.shapes import shapes2d, shapes3d
from lean3d.recipes.datasets import SHAPES, datasets, volumes
from lean3d.recipes.predict import predict
from lean3d.recipes.runs import load_run, run
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["METHODS", "Result", "compare"]


@dataclass(frozen=True)
class Result:
    """One method after training: its line of the comparison, and the metrics of every epoch."""

    method: str
    row: dict[str, Any]
    epochs: list[dict[str, Any]]


def brain(out: Path) -> dict[str, SegmentationRecipe]:
    """2D on slices of the slab; 3D on five labelled blocks of 32 voxels cubed."""
    size: dict[str, Any] = dict(widths=(8, 16, 32), lr=1e-2, schedule="cosine")
    flat = replace(brain2d(), **size, epochs=8, batch_size=8, val_samples=32)
    few: dict[str, Any] = dict(blocks=5, flips=(2,), train_samples=40, val_samples=8)
    return _methods(flat, replace(brain3d(), **size, **few, epochs=20), out)


def shapes(out: Path) -> dict[str, SegmentationRecipe]:
    """2D on circles and squares; 3D on a hundred volumes of five solids."""
    flat = replace(shapes2d(), widths=(16, 32), train_samples=2000, val_samples=200, epochs=5)
    fast: dict[str, Any] = dict(widths=(16, 32), lr=1e-2, schedule="cosine", epochs=15)
    return _methods(flat, replace(shapes3d(), **fast, val_samples=40), out)


METHODS = {"brain": brain, "shapes": shapes}


def _methods(
    flat: SegmentationRecipe, deep: SegmentationRecipe, out: Path
) -> dict[str, SegmentationRecipe]:
    lifted: dict[str, Any] = dict(model="unet2d", conv=None, convert="acs")
    separable: dict[str, Any] = dict(conv="p2sc2", options=(*deep.options, "convs=1"))
    return {
        "2D": replace(flat, name="2d"),
        "2.5D": replace(deep, name="2.5d", conv="planar"),
        "3D": replace(deep, name="3d", conv="conv3d"),
        "P2SC2": replace(deep, name="p2sc2", **separable),
        "ACS from scratch": replace(deep, name="acs", conv="acs"),
        "ACS from 2D": replace(deep, name="acs_from_2d", start_from=str(out / "2d"), **lifted),
    }


def compare(
    methods: dict[str, SegmentationRecipe],
    out: Path,
    say: Callable[[str], None],
    *,
    resume: bool = False,
) -> list[Result]:
    """Train every method in its own process, then test it on the whole held-out volume.

    Args:
        say: Called with a line before each step.
        resume: Continue an earlier comparison in `out`, if there is one.
    """
    results = []
    for method, recipe in methods.items():
        say(f"{method}: {recipe.epochs} epochs of {recipe.train_samples} samples")
        # a process of its own, so that peak memory is that of this method alone
        results.append(in_own_process(method, _one, method, recipe, out / recipe.name, resume))
    return results


def _one(method: str, recipe: SegmentationRecipe, out: Path, resume: bool) -> Result:
    metrics = run(recipe, out, resume=resume and out.exists())
    # the last epoch, not the best: the best was chosen on the data tested here
    model, _ = load_run(out, checkpoint="last")
    dice_K = dice_of_counts(_counts(model, recipe))
    names = zip(recipe.names[1:], dice_K[1:].tolist(), strict=True)
    cost = count(model, (1, recipe.in_channels, *recipe.patch))
    row = {
        "method": method,
        **{f"Dice {name}": round(dice, 3) for name, dice in names},
        "mean Dice": round(float(dice_K[1:].nanmean()), 3),
        "params": cost.params,
        "MACs per voxel": round(cost.macs / prod(recipe.patch)),
        "s per epoch": round(metrics["seconds_per_epoch"], 2),
        "peak MiB": round(metrics["peak_memory_mib"]),
    }
    return Result(method, row, metrics["epochs"])


@torch.inference_mode()
def _counts(model: nn.Module, recipe: SegmentationRecipe) -> Tensor:
    """Return the confusion matrix, over the whole held-out volumes or all test shapes."""
    total = torch.zeros(recipe.num_classes, recipe.num_classes, dtype=torch.int64)
    if recipe.data in SHAPES:
        for x, label in DataLoader(datasets(recipe)[1], recipe.batch_size):
            total += confusion_counts(model(x).argmax(1), label, recipe.num_classes)
        return total
    for volume in volumes(recipe)[1]:
        assert volume.label is not None
        classes = predict(model, recipe, volume).argmax(0)
        total += confusion_counts(classes, volume.label, recipe.num_classes)
    return total
