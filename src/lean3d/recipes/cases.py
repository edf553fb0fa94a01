"""The labelled scans of a recipe's data, each read when it is needed, and which are held out."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lean3d.data import Volume, brain_slabs, load_volume, mni152
from lean3d.data.folder import ImagePath
from lean3d.data.layouts.registry import Found, Item, find_items
from lean3d.data.load import Spacing, check_label, resampled
from lean3d.data.slabs import cut_slabs, split_slabs
from lean3d.data.stamp import stamp_of
from lean3d.errors import DataError, RunError
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["Case", "Split", "data_cases", "is_generated", "split_cases"]


@dataclass(frozen=True)
class Case:
    """A labelled scan.

    Args:
        read: Reads it, resampled to a spacing in mm if that is not None; values as in the file.
        image: Its file, or one for each channel; None for data that are not files.
        label: Its file of labels, or one for each mask.
        part_of: The case that it is a slab of.
        check: Refuses labels that `read` would, without the voxels of the scan; returns its
            channels.
    """

    name: str
    read: Callable[[Spacing | None], Volume]
    image: ImagePath | None = None
    label: ImagePath | None = None
    part_of: "Case | None" = None
    check: Callable[[], int] | None = None

    @property
    def filed(self) -> bool:
        """Whether its labels are files, on the grid of which it is scored."""
        return self.image is not None and self.label is not None

    @property
    def stamp(self) -> str:
        """Names, sizes and dates of the files: another stamp, other data."""
        if self.part_of is not None:
            return self.part_of.stamp
        return stamp_of(self.image, self.label)


@dataclass(frozen=True)
class Split:
    """Cases to train on, cases held out for validation, and those the data's authors test on."""

    train: list[Case]
    held_out: list[Case]
    test: list[Case] = field(default_factory=list)

    def names(self) -> dict[str, list[str]]:
        """Return plain values for the record of the run."""
        return {
            "train": [case.name for case in self.train],
            "held_out": [case.name for case in self.held_out],
        }


def is_generated(recipe: SegmentationRecipe) -> bool:
    """Whether the data are drawn, or come with a package, and are no files."""
    return recipe.data in ("mni152", "shapes2d", "shapes3d")


def data_cases(recipe: SegmentationRecipe) -> list[Case]:
    """Return every labelled case of a recipe's folder or layout, sorted by name."""
    found = find_items(recipe.data)
    values = recipe.label_values or found.label_values
    items = found.items
    if recipe.masks or found.mask_names:
        items = tuple(_with_masks(item, recipe, found) for item in items)
    return [_case(item, recipe.num_classes or None, values) for item in items]


def split_cases(
    recipe: SegmentationRecipe, stored: Mapping[str, Sequence[str]] | None = None
) -> Split:
    """Split the cases of a recipe's data.

    Args:
        stored: The names in the record of a run, which decide if given; cases that were added to
            the folder since are in neither part.

    Raises:
        RunError: there are too few cases, or one of a stored split is missing.
    """
    slabs = recipe.slabs or (recipe.folds if recipe.fold is not None else None)
    if recipe.data == "mni152":
        if slabs is None:
            back, front = _slabs(recipe.spacing_mm)
            return Split([back], [front])
        cases = [_brain(recipe.spacing_mm)]
    elif not recipe.data:
        raise RunError(f"recipe {recipe.name} needs data; pass --data with a folder of scans")
    else:
        cases = data_cases(recipe)
        if stored is None and recipe.fold is None and (published := _published(recipe, cases)):
            return published
    if recipe.slabs is not None and len(cases) > 1:
        raise RunError(
            f"slabs is for a single labelled scan and {recipe.data} has {len(cases)}; leave it out"
        )
    if len(cases) == 1 and slabs is not None:
        cases = _many_slabs(cases[0], slabs)
    elif len(cases) == 1:
        cases = _slabs_of(cases[0], recipe.held_out)
        return Split(*([case] for case in cases))
    if stored is not None:
        return _stored(cases, stored, recipe)
    if recipe.fold is not None:
        return _fold(cases, recipe)
    if len(cases) < 2 or not 0 < recipe.held_out < 1:
        raise RunError(
            f"{recipe.data} has {len(cases)} labelled case(s) and held_out is {recipe.held_out}; "
            "training needs one case to train on and one to hold out, and a share between 0 and 1"
        )
    random.Random(recipe.seed).shuffle(cases)
    held_out = min(max(1, round(recipe.held_out * len(cases))), len(cases) - 1)
    return Split(cases[held_out:], cases[:held_out])


def _published(recipe: SegmentationRecipe, cases: list[Case]) -> Split | None:
    """Return the split of the data's authors, train and val or train and test, if there is one."""
    train, val, test = (_part(recipe, cases, part) for part in ("train", "val", "test"))
    if not train or not (val or test):
        return None
    return Split(train, val, test) if val else Split(train, test)


def _part(recipe: SegmentationRecipe, cases: list[Case], part: str) -> list[Case]:
    """Return the cases of a part of the authors' split."""
    if recipe.data == "mni152":
        return []
    parts = {item.name: item.split for item in find_items(recipe.data).items}
    return [case for case in cases if parts.get(case.name) == part]


def _fold(cases: list[Case], recipe: SegmentationRecipe) -> Split:
    """Hold out every `folds`-th case of their order by the seed, which all folds share."""
    assert recipe.fold is not None
    if len(cases) < recipe.folds:
        raise RunError(
            f"{recipe.data} has {len(cases)} labelled case(s), too few for {recipe.folds} folds; "
            f"give fewer --folds"
        )
    random.Random(recipe.seed).shuffle(cases)
    places = range(len(cases))
    return Split(
        [cases[place] for place in places if place % recipe.folds != recipe.fold],
        [cases[place] for place in places if place % recipe.folds == recipe.fold],
    )


def _stored(
    cases: list[Case], stored: Mapping[str, Sequence[str]], recipe: SegmentationRecipe
) -> Split:
    if not _is_split(stored):
        raise RunError("the split in recipe.json is damaged; train again")
    found = {case.name: case for case in cases}
    for name in (*stored["train"], *stored["held_out"]):
        if name not in found:
            raise RunError(
                f"{recipe.data} has no case {name}, which the run was trained or validated on; "
                "give its data as they were"
            )
    train, held_out = ([found[name] for name in stored[part]] for part in ("train", "held_out"))
    used = {*stored["train"], *stored["held_out"]}
    test = [case for case in _part(recipe, cases, "test") if case.name not in used]
    return Split(train, held_out, test)


def _is_split(stored: Any) -> bool:
    parts = [stored.get(p) for p in ("train", "held_out")] if isinstance(stored, Mapping) else [0]
    return all(isinstance(p, list) and all(isinstance(n, str) for n in p) for p in parts)


def _case(item: Item, num_classes: int | None, values: Sequence[int] | None) -> Case:
    def read(spacing_mm: Spacing | None) -> Volume:
        if item.read is not None:
            volume = item.read() if spacing_mm is None else resampled(item.read(), spacing_mm)
        else:
            volume = load_volume(
                item.image,
                item.label,
                spacing_mm=spacing_mm,
                num_classes=num_classes,
                label_values=values,
            )
        if volume.label is None:
            raise DataError(f"{item.name} has no label; add it, or move the scan away")
        return replace(volume, name=item.name)

    def check() -> int:
        if item.read is not None or item.label is None:
            return len(read(None).image)
        return check_label(item.image, item.label, num_classes, values)

    return Case(item.name, read, item.image, item.label, check=check)


def _with_masks(item: Item, recipe: SegmentationRecipe, found: Found) -> Item:
    """Return a case with the files of the masks that the recipe learns."""
    known = found.mask_names or ()
    if not recipe.masks or not isinstance(item.label, tuple):
        what = "masks, which may overlap" if known else "one file of labels a case, and no masks"
        raise RunError(
            f"{recipe.data} has {what}; the run was trained on others"
            if known
            else f"{recipe.data} has {what}; give masks:DIR, or leave --masks out"
        )
    for name in recipe.masks:
        if name not in known:
            few = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
            raise RunError(f"{recipe.data} has no mask {name}; there are {few}")
    files = dict(zip(known, item.label, strict=True))
    return replace(item, label=tuple(files[name] for name in recipe.masks))


def _slabs_of(case: Case, held_out: float) -> list[Case]:
    """Return two slabs of the only case, to train on and to hold out."""

    def slab(part: int) -> Case:
        name = f"{case.name}_{('train', 'held_out')[part]}"

        def read(spacing_mm: Spacing | None) -> Volume:
            return replace(split_slabs(case.read(spacing_mm), held_out)[part], name=name)

        return Case(name, read, part_of=case)

    return [slab(0), slab(1)]


def _many_slabs(case: Case, num: int) -> list[Case]:
    """Return the slabs of the only case, from its lower or back end."""

    def slab(part: int) -> Case:
        name = f"{case.name}_slab{part}"

        def read(spacing_mm: Spacing | None) -> Volume:
            return replace(cut_slabs(case.read(spacing_mm), num)[part], name=name)

        return Case(name, read, part_of=case)

    return [slab(part) for part in range(num)]


def _brain(spacing_mm: Spacing | None) -> Case:
    """Return the whole MNI152 brain."""

    def read(wanted: Spacing | None) -> Volume:
        return mni152(_one(wanted or spacing_mm or 1))

    return Case("mni152", read)


def _slabs(spacing_mm: Spacing | None) -> list[Case]:
    """Return the back and the front of the MNI152 brain."""

    def slab(part: int) -> Case:
        def read(wanted: Spacing | None) -> Volume:
            return brain_slabs(mni152(_one(wanted or spacing_mm or 1)))[part]

        return Case(f"mni152_{('back', 'front')[part]}", read)

    return [slab(0), slab(1)]


def _one(spacing_mm: Spacing) -> float:
    """The spacing of a template, which is equal along all axes."""
    sides = {spacing_mm} if isinstance(spacing_mm, int | float) else set(spacing_mm)
    if len(sides) > 1:
        raise RunError(f"mni152 has one spacing for all axes, got {spacing_mm}; give one number")
    return float(sides.pop())
