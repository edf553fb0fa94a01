"""The training and validation data of a recipe."""

import gc
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial, singledispatch
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from lean3d.data import (
    Augmentation,
    Augmented,
    EpochSampler,
    PatchDataset,
    SectionAugmentation,
    Shapes2D,
    Shapes3D,
    SliceDataset,
    TrackletClips,
    VideoClips,
    Volume,
    WholeVolumes,
    cut_blocks,
)
from lean3d.data.file_crops import FileCrops, Part
from lean3d.data.intensity import standardise
from lean3d.data.load import Spacing
from lean3d.data.raw_clips import raw_batch
from lean3d.data.samples import Samples
from lean3d.data.shapes import SIZE
from lean3d.data.volume_classes import VolumeClasses
from lean3d.errors import RunError
from lean3d.limits import check_memory
from lean3d.processes import place
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.base import Recipe
from lean3d.recipes.cases import Case, split_cases
from lean3d.recipes.class_cases import sample_of, split_classes
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.clips import clips
from lean3d.recipes.em_files import EmFiles, em_files, stay_in_files
from lean3d.recipes.features import feature_clips
from lean3d.recipes.identity import IdentityRecipe
from lean3d.recipes.microscopy import (
    em_volumes,
    first_held_out,
    scale_em,
    split_sections,
)
from lean3d.recipes.prepared import prepared
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.recipes.tracklets import person_clips, person_order
from lean3d.recipes.volume_classification import VolumeClassificationRecipe
from lean3d.shape import triple

__all__ = ["datasets", "generated_cases", "loaders", "split_names", "volumes"]

# the names of the cases in each part
Stored = Mapping[str, Sequence[str]]

SHAPES = {"shapes2d": (Shapes2D, 2, 3), "shapes3d": (Shapes3D, 3, 6)}


def loaders(
    recipe: Recipe, stored: Stored | None = None, *, even: bool = False
) -> tuple[DataLoader, DataLoader]:
    """Return training batches, different in every epoch, and the fixed validation batches.

    Of several processes each gets its share of both: of an epoch equal ones, of the validation
    whole batches; all of these where there are fewer than processes.

    Args:
        stored: The split in the record of the run.
        even: Share the validation only if all get as many batches.

    Raises:
        RunError: an epoch has fewer samples than there are processes.
    """
    own = place()
    if recipe.train_samples < own.size:
        raise RunError(
            f"recipe {recipe.name}: {own.size} processes cannot share {recipe.train_samples} "
            "training samples; give fewer --devices or more --train-samples"
        )
    values = recipe.batch_size * math.prod(recipe.input_size)
    # single precision, and a class for every voxel
    size = values * (4 * recipe.in_channels + (8 if recipe.task == "segmentation" else 0))
    sides = " x ".join(map(str, recipe.input_size))
    what = f"a batch of {recipe.batch_size} {recipe.sample} of {sides}"
    check_memory(what, size, "use smaller ones, or a smaller batch_size")
    train, val = datasets(recipe, stored)
    if isinstance(recipe, SegmentationRecipe | VolumeClassificationRecipe) and recipe.augment:
        assert isinstance(train, Samples)
        train = Augmented(train, Augmentation(recipe.augment, recipe.input_size))
    settings: dict[str, Any] = dict(num_workers=recipe.workers, worker_init_fn=_begin_worker)
    if isinstance(train, VideoClips) and train.raw:
        settings["collate_fn"] = raw_batch
    sampler: Sampler[int]
    if isinstance(recipe, IdentityRecipe):
        assert isinstance(train, TrackletClips)
        sampler = person_order(recipe, train)
    else:
        sampler = EpochSampler(recipe.train_samples, recipe.seed, rank=own.rank, size=own.size)
    one = isinstance(recipe, SegmentationRecipe) and recipe.whole_cases
    batches = _batches(val, 1 if one else recipe.batch_size, even)
    return (
        DataLoader(train, recipe.batch_size, sampler=sampler, **settings),
        DataLoader(val, batch_sampler=batches, **settings),
    )


def _batches(val: Any, batch_size: int, even: bool) -> list[list[int]]:
    """Return this process's share of the batches of validation."""
    batches = list(BatchSampler(SequentialSampler(val), batch_size, drop_last=False))
    own, num = place(), len(batches)
    # of fewer, or uneven ones, every process computes all, and each counts as often
    if num < own.size or (even and num % own.size):
        return batches
    return batches[own.rank :: own.size]


def _begin_worker(number: int) -> None:
    """Let a forked worker never free what its parent made.

    FFmpeg's converters wait for threads that a fork does not have.
    """
    gc.freeze()


def split_names(recipe: Recipe, stored: Stored | None = None) -> dict[str, list[str]] | None:
    """Return the names of the cases in each part; None for data that are generated."""
    if isinstance(recipe, VolumeClassificationRecipe):
        return split_classes(recipe, stored).names()
    if not isinstance(recipe, SegmentationRecipe) or recipe.data in SHAPES:
        return None
    return split_cases(recipe, stored).names()


@singledispatch
def datasets(recipe: Recipe, stored: Stored | None = None) -> tuple[Dataset, Dataset]:
    """Samples (input, label) to train on and to validate on."""
    raise NotImplementedError(f"{recipe.task} has no data")


@datasets.register
def _(recipe: SegmentationRecipe, stored: Stored | None = None) -> tuple[Dataset, Dataset]:
    if recipe.data in SHAPES:
        return _shapes(recipe)
    train, val = volumes(recipe, stored)
    num = recipe.train_samples, recipe.val_samples
    kept: dict[str, Any] = dict(min_foreground=recipe.min_foreground)
    whole = WholeVolumes(val) if recipe.whole_cases else None
    if len(recipe.patch) == 2:
        height, width = recipe.patch
        size = (height, width)
        return (
            SliceDataset(
                *(train, recipe.axes, size, num[0], recipe.seed, recipe.min_foreground),
                oversample=recipe.oversample,
            ),
            whole or SliceDataset(val, recipe.axes, size, num[1], recipe.seed + 1, **kept),
        )
    patch = triple(recipe.patch, "patch")
    still = None if recipe.middle is None else 0
    return (
        PatchDataset(
            train,
            patch,
            num[0],
            seed=recipe.seed,
            flips=recipe.flips,
            middle=recipe.middle,
            turns=recipe.turns,
            oversample=recipe.oversample,
            **kept,
        ),
        whole or PatchDataset(val, patch, num[1], recipe.seed + 1, middle=still, **kept),
    )


@datasets.register
def _(recipe: AffinityRecipe, stored: Stored | None = None) -> tuple[Dataset, Dataset]:
    files = None if recipe.data == "neurites" else em_files(recipe)
    if files is not None and stay_in_files(files):
        return _em_crops(recipe, files)
    read = em_volumes(recipe, files=files)
    volumes = [replace(v, image=scale_em(recipe, v.image)) for v in read]
    train, val = zip(*(split_sections(v, recipe.held_out) for v in volumes), strict=True)
    parts: tuple[Samples, Samples]
    if len(recipe.patch) == 2:
        size = (recipe.patch[0], recipe.patch[1])
        parts = (
            SliceDataset(train, (0,), size, recipe.train_samples, recipe.seed, 0.0),
            SliceDataset(val, (0,), size, recipe.val_samples, recipe.seed + 1, 0.0),
        )
    else:
        patch = triple(recipe.patch, "patch")
        parts = (
            PatchDataset(train, patch, recipe.train_samples, recipe.seed),
            PatchDataset(val, patch, recipe.val_samples, recipe.seed + 1),
        )
    return Augmented(parts[0], SectionAugmentation(recipe.augment)), parts[1]


def _em_crops(recipe: AffinityRecipe, files: Sequence[EmFiles]) -> tuple[Dataset, Dataset]:
    """Return the samples of volumes in memory, read from their files crop by crop."""
    train, val = [], []
    for one in files:
        depth, height, width = one.shape
        first = first_held_out(one.name, depth, recipe.held_out)
        train.append(Part(one, 0, (first, height, width)))
        val.append(Part(one, first, (depth - first, height, width)))
    change = SectionAugmentation(recipe.augment)
    size, seed = recipe.patch, recipe.seed
    return (
        Augmented(FileCrops(train, size, recipe.train_samples, seed), partial(_em, recipe, change)),
        Augmented(FileCrops(val, size, recipe.val_samples, seed + 1), partial(_em, recipe, None)),
    )


def _em(
    recipe: AffinityRecipe,
    change: SectionAugmentation | None,
    image: Tensor,
    label: Tensor,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    image = scale_em(recipe, image if image.ndim == 4 else image[:, None])
    image = image if label.ndim == 3 else image[:, 0]
    return (image, label) if change is None else change(image, label, random)


@datasets.register
def _(recipe: VolumeClassificationRecipe, stored: Stored | None = None) -> tuple[Dataset, Dataset]:
    split = split_classes(recipe, stored)
    depth, height, width = triple(recipe.size, "size")
    size = (depth, height, width)
    train, val = (
        ([sample_of(recipe, case.read(), margin) for case in part], [c.target for c in part])
        for part, margin in ((split.train, recipe.shift), (split.held_out, 0))
    )
    change: dict[str, Any] = dict(shift=recipe.shift, flips=recipe.flips, turns=recipe.turns)
    return (
        VolumeClasses(*train, size, recipe.train_samples, recipe.seed, **change),
        VolumeClasses(*val, size, min(recipe.val_samples, len(val[0])), recipe.seed),
    )


@datasets.register
def _(recipe: ClassificationRecipe, stored: Stored | None = None) -> tuple[Dataset, Dataset]:
    return clips(recipe)


@datasets.register
def _(recipe: RecurrenceRecipe, stored: Stored | None = None) -> tuple[Dataset, Dataset]:
    return feature_clips(recipe)


@datasets.register
def _(recipe: IdentityRecipe, stored: Stored | None = None) -> tuple[Dataset, Dataset]:
    return person_clips(recipe)


def volumes(
    recipe: SegmentationRecipe, stored: Stored | None = None
) -> tuple[list[Volume], list[Volume]]:
    """Normalised volumes to train on, and held-out ones, with labels as bytes."""
    if recipe.data in SHAPES:
        raise RunError(f"recipe {recipe.name} draws {recipe.data}; it has no volumes")
    split = split_cases(recipe, stored)
    train = prepared(recipe, split.train, len(split.held_out))
    held_out = prepared(recipe, split.held_out)
    if recipe.blocks is not None:
        size = triple(recipe.patch, "patch")
        train = [b for v in train for b in cut_blocks(v, size, recipe.blocks, recipe.seed)]
    return train, held_out


def generated_cases(recipe: SegmentationRecipe) -> list[Case] | None:
    """Return the validation samples of generated data as cases; None for data of another kind."""
    if recipe.data not in SHAPES:
        return None
    _, val = _shapes(recipe)

    def case(index: int) -> Case:
        def read(spacing_mm: Spacing | None) -> Volume:
            image, label = val[index]
            if label.ndim == 2:
                image, label = image.unsqueeze(1), label.unsqueeze(0)
            return Volume(image, label, np.eye(4), f"shape_{index:04}")

        return Case(f"shape_{index:04}", read)

    return [case(index) for index in range(recipe.val_samples)]


def _shapes(recipe: SegmentationRecipe) -> tuple[Samples, Samples]:
    kind, dims, num_classes = SHAPES[recipe.data]
    drawn = (recipe.patch[0] if recipe.patch else SIZE,) * dims, num_classes, 1
    if (recipe.patch, recipe.num_classes, recipe.in_channels) != drawn:
        raise RunError(
            f"{recipe.data} has patches of {dims} equal sides such as {(SIZE,) * dims}, "
            f"{num_classes} classes and 1 channel, recipe {recipe.name} asks for {recipe.patch}, "
            f"{recipe.num_classes} and {recipe.in_channels}"
        )
    train, val = recipe.train_samples, recipe.val_samples
    size, seed = recipe.patch[0], recipe.seed
    return (
        _Standardised(kind(train, seed, size=size)),
        _Standardised(kind(val, seed + 1, size=size)),
    )


class _Standardised(Samples):
    """Samples of one channel with zero mean and unit variance, as `scaled` makes every volume."""

    def __init__(self, samples: Samples):
        super().__init__(samples.length, samples.seed)
        self.samples = samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.samples[index]
        volume = image if image.ndim == 3 else image[0]
        return standardise(volume).view_as(image), label
