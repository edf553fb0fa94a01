"""The volumes of a classification: their classes and parts, read at the size of a sample."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from torch import Tensor

from lean3d.data import Volume, load_volume, normalise
from lean3d.data.intensity import HOUNSFIELD, is_ct
from lean3d.data.layouts.registry import Found, Item, find_items
from lean3d.data.load import resampled
from lean3d.data.stamp import stamp_of
from lean3d.data.volume_classes import fit_size
from lean3d.errors import RunError
from lean3d.recipes.intensity import check_channels, scales
from lean3d.recipes.volume_classification import VolumeClassificationRecipe
from lean3d.shape import Triple, triple

__all__ = [
    "ClassCase",
    "ClassSplit",
    "class_cases",
    "class_scaling",
    "prepared",
    "sample_of",
    "split_classes",
]


@dataclass(frozen=True)
class ClassCase:
    """A volume with its class; values and size as in the file, at the spacing of the run."""

    name: str
    target: int
    part: str | None
    read: Callable[[], Volume]
    stamp: str


@dataclass(frozen=True)
class ClassSplit:
    """Volumes to train on, those held out for validation, and those for the evaluation."""

    train: list[ClassCase]
    held_out: list[ClassCase]
    test: list[ClassCase]

    def names(self) -> dict[str, list[str]]:
        """Return plain values for the record of the run."""
        return {part: [case.name for case in getattr(self, part)] for part in vars(self)}


def class_cases(recipe: VolumeClassificationRecipe) -> tuple[list[ClassCase], Found]:
    """Return all volumes of the data that have a class, in the numbers of the recipe's classes.

    Raises:
        RunError: the data have none, or one that the recipe does not know.
    """
    if not recipe.data:
        raise RunError(f"recipe {recipe.name} needs data; pass --data, such as classes:DIR")
    found = _numbered(recipe, find_items(recipe.data))
    cases = [_case(item, recipe) for item in found.items if item.target is not None]
    if not cases:
        raise RunError(f"{recipe.data} has no classes of whole volumes; see docs/data.md")
    return cases, found


def _numbered(recipe: VolumeClassificationRecipe, found: Found) -> Found:
    """Give every class of the data the number of the recipe's class of that name."""
    own, theirs = recipe.class_names, found.target_names or found.class_names
    if own is None and not (theirs and all(name.isdecimal() for name in theirs)):
        return found
    if own is None:
        # numbers with gaps are names, but for a recipe that counts them all
        if recipe.num_classes <= max(map(int, theirs or ())):
            return found
        own = tuple(map(str, range(recipe.num_classes)))
    elif theirs is None and all(name.isdecimal() for name in own):
        highest = max((max(item.target) for item in found.items if item.target), default=0)
        theirs = tuple(map(str, range(highest + 1)))
    # names of one's own, for as many classes
    if theirs is None or theirs == own or (len(theirs) == len(own) and not set(theirs) & set(own)):
        return found
    number = {name: place for place, name in enumerate(own)}
    items = []
    for item in found.items:
        names = [theirs[value] for value in item.target or ()]
        for name in names:
            if name not in number:
                raise RunError(
                    f"{recipe.data}: {item.name} is of class {name}, and the run learnt "
                    f"{', '.join(own)[:150]}; leave it out"
                )
        target = tuple(number[name] for name in names) if item.target is not None else None
        items.append(replace(item, target=target))
    return replace(found, items=tuple(items), target_names=own)


def split_classes(
    recipe: VolumeClassificationRecipe, stored: Mapping[str, Sequence[str]] | None = None
) -> ClassSplit:
    """Split the volumes: as the data or the run say, else a share of each class, by the seed."""
    cases, _ = class_cases(recipe)
    if stored is not None:
        known = {case.name: case for case in cases}
        for name in (name for names in stored.values() for name in names):
            if name not in known:
                raise RunError(f"{recipe.data} has no volume {name}, which the run was split by")
        parts = ([known[n] for n in stored.get(p, ())] for p in ("train", "held_out", "test"))
        return ClassSplit(*parts)
    train = [case for case in cases if case.part in (None, "train")]
    held_out = [case for case in cases if case.part == "val"]
    if not held_out or recipe.fold is not None:
        train, held_out = _part(train + held_out, recipe)
    if not train or not held_out:
        raise RunError(
            f"{recipe.data}: {len(train)} volumes to train on, {len(held_out)} held out; both need "
            "some: give each class two volumes or more, or the parts train and val"
        )
    if len({case.target for case in held_out}) < 2:
        raise RunError(
            f"what is held out of {recipe.data} ({len(held_out)} volumes) is of one class; "
            "scores need two: give each class two volumes or more, or other parts"
        )
    return ClassSplit(train, held_out, [case for case in cases if case.part == "test"])


def _part(
    cases: list[ClassCase], recipe: VolumeClassificationRecipe
) -> tuple[list[ClassCase], list[ClassCase]]:
    train: list[ClassCase] = []
    held_out: list[ClassCase] = []
    for target in sorted({case.target for case in cases}):
        own = sorted((c for c in cases if c.target == target), key=lambda case: case.name)
        random.Random(recipe.seed).shuffle(own)
        num = max(1, round(recipe.held_out * len(own)))
        for place, case in enumerate(own):
            fold = recipe.fold
            out = place < num if fold is None else place % recipe.folds == fold
            # a class of one volume can only be learnt
            (held_out if out and len(own) > 1 else train).append(case)
    return train, held_out


def prepared(recipe: VolumeClassificationRecipe, volume: Volume) -> Volume:
    """Return a volume at the spacing of the run, with its intensities scaled."""
    if recipe.spacing_mm is not None:
        volume = resampled(volume, recipe.spacing_mm)
    check_channels(recipe, volume.name, len(volume.image))
    if recipe.intensity == "none" and recipe.scaling is None:
        return volume
    return normalise(volume, scales(recipe))


def class_scaling(recipe: VolumeClassificationRecipe, volume: Volume) -> list[float]:
    """Return four values for each channel of a volume, as a recipe has them."""
    values: list[float] = []
    for x_DHW in volume.image:
        if recipe.intensity == "none":
            values += [-3e38, 3e38, 0.0, 1.0]
        else:
            values += astuple(HOUNSFIELD) if is_ct(x_DHW, volume.modality) else (0.0,) * 4
    return [float(value) for value in values]


def sample_of(recipe: VolumeClassificationRecipe, volume: Volume, margin: int = 0) -> Tensor:
    """Return the input of the model, larger by a margin on both sides of every axis."""
    depth, height, width = (side + 2 * margin for side in triple(recipe.size, "size"))
    size: Triple = (depth, height, width)
    image = prepared(recipe, volume).image
    return fit_size(image, size, resize=recipe.fit == "resize").contiguous()


def _case(item: Item, recipe: VolumeClassificationRecipe) -> ClassCase:
    assert item.target is not None
    if len(item.target) != 1:
        raise RunError(
            f"{recipe.data} has {len(item.target)} columns of classes; leave one in the table"
        )

    def read() -> Volume:
        volume = load_volume(item.image) if item.read is None else item.read()
        if not volume.image.isfinite().all():
            raise RunError(f"{item.name} of {recipe.data} holds NaN or infinity; replace them")
        return replace(volume, name=item.name)

    stamp = f"{stamp_of(item.image)} {item.target[0]}"
    return ClassCase(item.name, item.target[0], item.split, read, stamp)
