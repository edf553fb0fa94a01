"""The training and validation data of a recipe."""

import math
import random
from functools import singledispatch
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from lean3d.data import (
    EpochSampler,
    PatchDataset,
    Shapes2D,
    Shapes3D,
    SliceDataset,
    Volume,
    brain_slabs,
    cut_blocks,
    load_folder,
    mni152,
    normalise,
)
from lean3d.data.shapes import SIZE
from lean3d.errors import RunError
from lean3d.limits import check_memory
from lean3d.recipes.base import Recipe
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.clips import clips
from lean3d.recipes.features import feature_clips
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.shape import triple

__all__ = ["datasets", "loaders", "volumes"]

SHAPES = {"shapes2d": (Shapes2D, 2, 3), "shapes3d": (Shapes3D, 3, 6)}


def loaders(recipe: Recipe) -> tuple[DataLoader, DataLoader]:
    """Return training batches, different in every epoch, and the fixed validation batches."""
    values = recipe.batch_size * math.prod(recipe.input_size)
    # single precision, and a class for every voxel
    size = values * (4 * recipe.in_channels + (8 if recipe.task == "segmentation" else 0))
    sides = " x ".join(map(str, recipe.input_size))
    what = f"a batch of {recipe.batch_size} {recipe.sample} of {sides}"
    check_memory(what, size, "use smaller ones, or a smaller batch_size")
    train, val = datasets(recipe)
    settings: dict[str, Any] = dict(batch_size=recipe.batch_size, num_workers=recipe.workers)
    sampler = EpochSampler(recipe.train_samples, recipe.seed)
    return DataLoader(train, sampler=sampler, **settings), DataLoader(val, **settings)


@singledispatch
def datasets(recipe: Recipe) -> tuple[Dataset, Dataset]:
    """Samples (input, label) to train on and to validate on."""
    raise NotImplementedError(f"{recipe.task} has no data")


@datasets.register
def _(recipe: SegmentationRecipe) -> tuple[Dataset, Dataset]:
    if recipe.data in SHAPES:
        return _shapes(recipe)
    train, val = volumes(recipe)
    num = recipe.train_samples, recipe.val_samples
    kept: dict[str, Any] = dict(min_foreground=recipe.min_foreground)
    if len(recipe.patch) == 2:
        height, width = recipe.patch
        size = (height, width)
        return (
            SliceDataset(train, recipe.axes, size, num[0], recipe.seed, **kept),
            SliceDataset(val, recipe.axes, size, num[1], recipe.seed + 1, **kept),
        )
    patch = triple(recipe.patch, "patch")
    return (
        PatchDataset(train, patch, num[0], recipe.seed, flips=recipe.flips, **kept),
        PatchDataset(val, patch, num[1], recipe.seed + 1, **kept),
    )


datasets.register(ClassificationRecipe, clips)
datasets.register(RecurrenceRecipe, feature_clips)


def volumes(recipe: SegmentationRecipe) -> tuple[list[Volume], list[Volume]]:
    """Normalised volumes to train on, and held-out ones."""
    if recipe.data in SHAPES:
        raise RunError(f"recipe {recipe.name} draws {recipe.data}; it has no volumes")
    if recipe.data == "mni152":
        train, held_out = ([slab] for slab in brain_slabs(mni152(recipe.spacing_mm or 1)))
    else:
        train, held_out = _split(recipe)
    _check_channels(recipe, train[0])
    train, held_out = ([normalise(v) for v in part] for part in (train, held_out))
    if recipe.blocks is not None:
        size = triple(recipe.patch, "patch")
        train = [b for v in train for b in cut_blocks(v, size, recipe.blocks, recipe.seed)]
    return train, held_out


def _split(recipe: SegmentationRecipe) -> tuple[list[Volume], list[Volume]]:
    if not recipe.data:
        raise RunError(f"recipe {recipe.name} needs data; pass --data with a folder of NIfTI files")
    cases = load_folder(recipe.data, recipe.num_classes, recipe.spacing_mm)
    if len(cases) < 2 or not 0 < recipe.held_out < 1:
        raise RunError(
            f"{recipe.data} has {len(cases)} labelled case(s) and held_out is {recipe.held_out}; "
            "training needs one case to train on and one to hold out, and a share between 0 and 1"
        )
    random.Random(recipe.seed).shuffle(cases)
    held_out = min(max(1, round(recipe.held_out * len(cases))), len(cases) - 1)
    return cases[held_out:], cases[:held_out]


def _shapes(recipe: SegmentationRecipe) -> tuple[Dataset, Dataset]:
    kind, dims, num_classes = SHAPES[recipe.data]
    drawn = (SIZE,) * dims, num_classes, 1
    if (recipe.patch, recipe.num_classes, recipe.in_channels) != drawn:
        raise RunError(
            f"{recipe.data} has patches of {drawn[0]}, {num_classes} classes and 1 channel, recipe "
            f"{recipe.name} asks for {recipe.patch}, {recipe.num_classes} and {recipe.in_channels}"
        )
    train, val = recipe.train_samples, recipe.val_samples
    return kind(train, recipe.seed), kind(val, recipe.seed + 1)


def _check_channels(recipe: SegmentationRecipe, volume: Volume) -> None:
    found = volume.image.shape[0]
    if found != recipe.in_channels:
        raise RunError(
            f"the images of {Path(recipe.data).name} have {found} channels and the recipe "
            f"{recipe.in_channels}; pass --in-channels {found}"
        )
