"""Fill in the settings of a run that its data decide, and say what was found."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np

from lean3d.data import Masks, Volume
from lean3d.data.intensity import Scale
from lean3d.data.layouts.registry import Found, find_items
from lean3d.data.read import grey_values, said_values
from lean3d.data.survey import Survey, survey
from lean3d.errors import ConversionError, RunError
from lean3d.networks import Network
from lean3d.networks.network import SOURCES
from lean3d.recipes import plan
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.base import Recipe
from lean3d.recipes.build import build_model
from lean3d.recipes.cases import is_generated, split_cases
from lean3d.recipes.class_cases import (
    ClassCase,
    class_cases,
    class_scaling,
    prepared,
    split_classes,
)
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.clips import listing
from lean3d.recipes.em_files import EmFiles, em_files, stay_in_files
from lean3d.recipes.identity import IdentityRecipe
from lean3d.recipes.intensity import scales
from lean3d.recipes.microscopy import check_labelled, em_volumes, with_scaling
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.recipes.tracklets import open_people, person_parts
from lean3d.recipes.volume_classification import VolumeClassificationRecipe

__all__ = ["adopt", "resolve"]

Say = Callable[[str], None]
Stored = Mapping[str, Sequence[str]]

# field -> the value that leaves it to the data, or to the run that is resumed
OPEN: dict[str, Any] = dict(
    data="",
    num_classes=0,
    class_names=None,
    in_channels=0,
    patch=(),
    spacing_mm=None,
    scaling=None,
    label_values=None,
    mean=None,
    std=None,
    keep_depth="auto",
    size=(),
    train_samples=0,
    val_samples=0,
    class_weights=(),
)
COLUMNS = 80
UNBROKEN: dict[str, Any] = dict(break_on_hyphens=False, break_long_words=False)


def adopt(recipe: Recipe, old: Recipe) -> Recipe:
    """Return the recipe with the old run's values where it leaves them to the data."""
    given = {name: getattr(recipe, name) for name in OPEN if hasattr(recipe, name)}
    taken = [name for name, value in given.items() if value == OPEN[name] and hasattr(old, name)]
    return replace(recipe, **{name: getattr(old, name) for name in taken})


@singledispatch
def resolve(recipe: Recipe, stored: Stored | None = None, say: Say | None = None) -> Recipe:
    """Return the recipe with every setting that it leaves to its data, from the data.

    Args:
        stored: The split in the record of the run.
        say: Called with each line on what was found.

    Raises:
        RunError: the data do not say it.
    """
    for name in ("num_classes", "in_channels"):
        if not getattr(recipe, name):
            flag = name.replace("_", "-")
            raise RunError(f"recipe {recipe.name} needs {name}; pass --{flag}")
    return replace(recipe, keep_depth=0) if recipe.keep_depth == "auto" else recipe


@resolve.register
def _(
    recipe: ClassificationRecipe, stored: Stored | None = None, say: Say | None = None
) -> ClassificationRecipe:
    if recipe.data == "digits":
        resolve.dispatch(Recipe)(recipe)
        return recipe
    if recipe.class_names is not None:
        return replace(recipe, num_classes=recipe.num_classes or len(recipe.class_names))
    names = listing(recipe).classes
    if recipe.num_classes in (0, len(names)):  # others are refused when the clips are made
        recipe = replace(recipe, num_classes=len(names), class_names=names)
    recipe.check()
    return recipe


@resolve.register
def _(
    recipe: IdentityRecipe, stored: Stored | None = None, say: Say | None = None
) -> IdentityRecipe:
    people = open_people(recipe)
    parts = person_parts(recipe, people)
    if recipe.num_classes in (0, len(parts.persons)) and recipe.class_names is None:
        recipe = replace(recipe, num_classes=len(parts.persons), class_names=parts.persons)
    recipe = replace(recipe, train_samples=recipe.train_samples or len(parts.train))
    cameras = {t.camera for t in parts.train} - {None}
    by = f" by {len(cameras)} cameras" if cameras else ""
    _lines(say)(
        f"{recipe.data}: {len(parts.train)} tracklets of {len(parts.persons)} persons{by} to train "
        f"on, {len(parts.val)} of {len({t.person for t in parts.val})} other persons to validate on"
    )
    recipe.check()
    return recipe


@resolve.register
def _(
    recipe: VolumeClassificationRecipe, stored: Stored | None = None, say: Say | None = None
) -> VolumeClassificationRecipe:
    cases, about = class_cases(recipe)
    names = recipe.class_names or about.target_names or about.class_names
    if recipe.ordinal and recipe.class_names is None and not all(map(str.isdecimal, names or ())):
        raise RunError(
            f"ordinal learns an order, which the names of the classes of {recipe.data} do not say; "
            f"give them from the lowest to the highest, as --class-names {' '.join(names or ())}"
        )
    num = recipe.num_classes or len(names or ()) or max(case.target for case in cases) + 1
    if max(case.target for case in cases) >= num:
        raise RunError(f"{recipe.data} has more than {num} classes; give another --num-classes")
    recipe = replace(recipe, num_classes=num, class_names=names)
    split = split_classes(recipe, stored)
    shapes, recipe = _scaled_shapes(recipe, split.train)
    sides = np.median([shape[1:] for shape in shapes], axis=0).round().astype(int).tolist()
    count = np.bincount([case.target for case in split.train], minlength=num)
    weights = recipe.class_weights
    if recipe.balance and not weights:
        # a class without a volume has no weight in any batch
        weights = tuple((len(split.train) / (num * np.maximum(count, 1))).round(6).tolist())
    recipe = replace(
        recipe,
        in_channels=recipe.in_channels or shapes[0][0],
        size=recipe.size or tuple(sides),
        train_samples=recipe.train_samples or len(split.train),
        val_samples=recipe.val_samples or len(split.held_out),
        class_weights=weights,
    )
    for channel, scale in enumerate(scales(recipe) or ()):
        _lines(say)(f"intensities of channel {channel}: {_said(scale)}")
    _lines(say)(
        f"{len(cases)} volumes in {recipe.data}: {len(split.train)} to train on, "
        f"{len(split.held_out)} held out, {len(split.test)} to evaluate on; "
        + ", ".join(f"{name} {n}" for name, n in zip(recipe.names, count.tolist(), strict=True))
    )
    recipe.check()
    return recipe


@resolve.register
def _(
    recipe: SegmentationRecipe, stored: Stored | None = None, say: Say | None = None
) -> SegmentationRecipe:
    if is_generated(recipe):
        settled = resolve.dispatch(Recipe)(recipe)
        assert isinstance(settled, SegmentationRecipe)
        # drawing them takes a while
        _lines(say)(
            f"makes {recipe.train_samples} samples of {_by(recipe.patch)} from {recipe.data} to "
            f"train on, and {recipe.val_samples} to validate on"
        )
        return settled
    tell = _lines(say)
    about = find_items(recipe.data) if recipe.data else Found(())
    recipe = _named(recipe, about)
    split = split_cases(recipe, stored)
    tell(
        f"{len(split.train) + len(split.held_out)} cases in {recipe.data}: {len(split.train)} to "
        f"train on, {len(split.held_out)} held out ({_few([c.name for c in split.held_out])})"
    )
    cases = [*split.train, *split.held_out]
    found = survey(replace(case.read(None), name=case.name) for case in cases)
    recipe = _channels(_classes(recipe, found, tell), found, about)
    recipe = replace(recipe, spacing_mm=_spacing(recipe, found))
    recipe = _sizes(recipe, found, about, tell)
    if recipe.scaling is None:
        train = [case.name for case in split.train]
        recipe = replace(recipe, scaling=plan.scaling(recipe, found, train, about.channel_names))
    _tell_settings(recipe, tell)
    recipe.check()
    return recipe


@resolve.register
def _(
    recipe: AffinityRecipe, stored: Stored | None = None, say: Say | None = None
) -> AffinityRecipe:
    volumes: Sequence[Volume | EmFiles]
    files = None if recipe.data == "neurites" else em_files(recipe)
    if files is not None and stay_in_files(files):
        volumes = files
    else:
        volumes = em_volumes(recipe, files=files)
    recipe = with_scaling(recipe, volumes)
    check_labelled(recipe, volumes)
    tell = _lines(say)
    for volume in volumes:
        nm = _by([round(1e6 * side, 3) for side in volume.spacing])
        if isinstance(volume, EmFiles):
            shape, instances = volume.shape, volume.instances()
        else:
            assert volume.label is not None
            depth, height, width = volume.label.shape
            shape, instances = (depth, height, width), int(volume.label.max())
        tell(f"{volume.name}: {_by(shape)} voxels of {nm} nm, {instances:,} instances")
        if instances == 1:
            tell("labels that are 0 on membranes and one number inside cells need --membranes")
    if any(isinstance(volume, EmFiles) for volume in volumes):
        tell("too large for the memory that is free: crops are read from the files")
    if recipe.keep_depth == "auto":
        pools = len(recipe.widths) - 1 if recipe.widths else 3
        kept = _kept(recipe, min(plan.keep_depth(volumes[0].spacing), pools))
        recipe = replace(recipe, keep_depth=kept)
        if kept:
            tell(f"thick sections: {_left(kept)} depth alone (--keep-depth)")
    recipe.check()
    return recipe


def _scaled_shapes(
    recipe: VolumeClassificationRecipe, cases: Sequence[ClassCase]
) -> tuple[list[tuple[int, ...]], VolumeClassificationRecipe]:
    """Return the shapes of volumes, and the recipe with the one scale that they all get."""
    shapes: list[tuple[int, ...]] = []
    values: list[list[float]] = []
    for case in cases:
        volume = case.read()
        values.append(class_scaling(recipe, volume))
        shapes.append(tuple(prepared(recipe, volume).image.shape))
    if recipe.scaling is not None:
        return shapes, recipe
    if len({len(one) for one in values}) > 1:
        raise RunError(f"the volumes of {recipe.data} have different numbers of channels")
    channels = range(0, len(values[0]), 4)
    # one that is not a CT is scaled by itself, and then all of them are
    fixed = {i: all(any(one[i : i + 4]) for one in values) for i in channels}
    four = [values[0][i : i + 4] if fixed[i] else [0.0] * 4 for i in channels]
    scaling = tuple(value for one in four for value in one)
    return shapes, replace(recipe, scaling=scaling, in_channels=len(four))


def _spacing(recipe: SegmentationRecipe, found: Survey) -> Any:
    return plan.spacing(found) if recipe.spacing_mm is None else recipe.spacing_mm


def _named(recipe: SegmentationRecipe, about: Found) -> SegmentationRecipe:
    """Take class names, the values of labels, or the names of masks, from the layout."""
    if masks := recipe.masks or about.mask_names:
        return replace(recipe, masks=masks, num_classes=2 ** len(Masks(masks).names))
    names = recipe.class_names
    if names is None and recipe.num_classes in (0, len(about.class_names or ())):
        names = about.class_names
    return replace(
        recipe,
        class_names=names,
        num_classes=recipe.num_classes or len(names or recipe.label_values or ()),
        label_values=recipe.label_values or about.label_values,
    )


def _classes(recipe: SegmentationRecipe, found: Survey, tell: Say) -> SegmentationRecipe:
    counts = found.counts
    if set(counts) == {0}:
        raise RunError(
            f"every voxel of the labels of {recipe.data} is 0, the background; there is nothing to "
            "learn"
        )
    if not recipe.num_classes:
        values = np.array(list(counts))
        greys = grey_values(len(values), values) if values.max() >= 255 else None
        if greys is not None:
            tell(said_values(greys))
            recipe = replace(recipe, num_classes=len(greys), label_values=greys)
            counts = {greys.index(value): count for value, count in counts.items()}
        elif values.max() >= 256 or len(values) != values.max() + 1 or len(values) < 2:
            raise RunError(_unclear(recipe, found, values.tolist()))
        else:
            recipe = replace(recipe, num_classes=int(values.max()) + 1)
    total, names = sum(counts.values()), recipe.names
    if isinstance(masks := recipe.read_regions, Masks):
        inside = {
            name: sum(n for value, n in counts.items() if name in masks.inside(value))
            for name in masks.names
        }
        listed = ", ".join(f"{name} {_percent(n / total)}" for name, n in inside.items())
        tell(f"masks: {listed}")
        return recipe
    shares = [
        f"{f'class {name}' if name.isdecimal() else name} {_percent(counts.get(i, 0) / total)}"
        for i, name in enumerate(names)
    ]
    tell(f"classes: {', '.join(shares)}")
    return recipe


def _unclear(recipe: SegmentationRecipe, found: Survey, values: list[int]) -> str:
    """Say why the values of the labels are not taken as classes, and in which case."""
    odd = next(case.name for case in found.cases if values[-1] in case.counts)
    listed = " ".join(map(str, values))
    how = f"--num-classes {values[-1] + 1} if some classes are rare, or "
    return (
        f"the labels of {recipe.data} are {_few(list(map(str, values)))} ({values[-1]} in {odd}), "
        f"not 0, 1, 2, ...; pass {how if values[-1] < 256 else ''}--label-values "
        f"{listed if len(values) < 12 else '0 ...'} if these are the classes"
    )


def _channels(recipe: SegmentationRecipe, found: Survey, about: Found) -> SegmentationRecipe:
    channels = found.channels
    if about.channel_names and len(about.channel_names) != channels:
        raise RunError(
            f"{recipe.data} names {len(about.channel_names)} channels "
            f"({_few(about.channel_names)}) and its images have {channels}; correct dataset.json, "
            "or the images"
        )
    if recipe.in_channels not in (0, channels):
        raise RunError(
            f"the images of {recipe.data} have {channels} channels and the recipe "
            f"{recipe.in_channels}; pass --in-channels {channels}"
        )
    return replace(recipe, in_channels=channels)


def _sizes(
    recipe: SegmentationRecipe, found: Survey, about: Found, tell: Say
) -> SegmentationRecipe:
    shapes = sorted({case.shape for case in found.cases}, key=np.prod)
    sides = sorted({tuple(round(s, 7) for s in case.spacing) for case in found.cases}, key=np.prod)
    named = f" ({', '.join(about.channel_names)})" if about.channel_names else ""
    many = f"{found.channels} channel{'s' * (found.channels > 1)}{named}"
    ends = " to ".join(_by(shape) for shape in dict.fromkeys((shapes[0], shapes[-1])))
    placed = all(case.placed for case in found.cases)
    lengths = " to ".join(_by(side) for side in dict.fromkeys((sides[0], sides[-1])))
    tell(f"{many}; {ends} voxels of {f'{lengths} mm' if placed else 'a size no file says'}")
    own = np.median([case.spacing for case in found.cases], axis=0).tolist()
    # networks of zoos halve an image five times
    others = 5 if ":" in recipe.model else 4
    pools = len(recipe.widths) - 1 if recipe.widths else others
    recipe = _depth(recipe, recipe.sides_mm or own, pools, tell)
    if not recipe.patch:
        kept = recipe.keep_depth if isinstance(recipe.keep_depth, int) else pools
        recipe = replace(recipe, patch=plan.patch(found, recipe.sides_mm, pools, kept))
    return recipe


def _depth(
    recipe: SegmentationRecipe, sides_mm: Sequence[float], pools: int, tell: Say
) -> SegmentationRecipe:
    """Choose, or propose, how many downsamplings leave a coarse depth alone."""
    kept = min(plan.keep_depth(sides_mm), pools)
    coarse = f"depth is {sides_mm[0] / max(sides_mm[1:]):.1f} times as coarse as a slice"
    if recipe.keep_depth == "auto":
        recipe = replace(recipe, keep_depth=_kept(recipe, kept))
    if kept and recipe.keep_depth:
        tell(f"{coarse}: {_left(recipe.keep_depth)} it alone (--keep-depth)")
    elif kept:
        tell(f"{coarse}; --keep-depth {kept} suits it, of unet3d or a network with --convert")
    return recipe


def _left(kept: int | str) -> str:
    if kept == 1:
        return "the first downsampling leaves"
    return "all downsamplings leave" if kept == "all" else f"the first {kept} downsamplings leave"


def _kept(recipe: Recipe, wanted: int) -> int:
    """Return how many of the wanted downsamplings can leave depth alone in the recipe's network."""
    if _downsamples_as_known(recipe):
        return wanted
    if not Network(recipe.model, convert=recipe.convert).keeps_depth:
        return 0
    # how often one's own network downsamples is known when it is converted
    for kept in range(wanted, 0, -1):
        with suppress(ConversionError):
            build_model(replace(recipe, keep_depth=kept))
            return kept
    return 0


def _downsamples_as_known(recipe: Recipe) -> bool:
    """Whether the network takes `keep_depth`, and is not one's own, of unknown downsamplings."""
    prefix, colon, _ = recipe.model.partition(":")
    known = not colon or prefix in SOURCES
    return known and Network(recipe.model, convert=recipe.convert).keeps_depth


def _tell_settings(recipe: SegmentationRecipe, tell: Say) -> None:
    sides = recipe.sides_mm
    where = "of the files" if sides is None else f"of {_by(sides)} mm"
    tell(f"crops of {_by(recipe.patch)} voxels {where}")
    for channel, scale in enumerate(scales(recipe) or ()):
        whose = "intensities" if recipe.in_channels == 1 else f"channel {channel}"
        tell(f"{whose}: {_said(scale)}")


def _said(scale: Scale | None) -> str:
    if scale is None:
        return "zero mean and unit variance in every scan"
    moved = f"less {scale.mean:.4g}, divided by {scale.deviation:.4g}"
    if scale.high > 1e38:
        return moved if (scale.mean, scale.deviation) != (0, 1) else "as they are in the files"
    return f"clipped to {scale.low:g} .. {scale.high:g}, {moved}"


def _lines(say: Say | None) -> Say:
    def tell(line: str) -> None:
        if say is not None:
            say("\n".join(textwrap.wrap(line, COLUMNS - 1, subsequent_indent="  ", **UNBROKEN)))

    return tell


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _by(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 5e-4 or not share else f"{100 * share:.2g} %"
