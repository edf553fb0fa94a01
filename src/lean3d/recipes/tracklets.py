"""The tracklets of a recipe, its persons in parts, and the clips to learn from."""

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lean3d.data import (
    ClipWindow,
    Look,
    People,
    PersonSampler,
    Tracklet,
    TrackletClips,
    load_people,
)
from lean3d.data.frame_times import FrameTimes
from lean3d.data.tracklets import frame_times
from lean3d.errors import DataError, RunError
from lean3d.processes import place
from lean3d.recipes.identity import IdentityRecipe

__all__ = [
    "PersonParts",
    "open_people",
    "person_clips",
    "person_look",
    "person_order",
    "person_parts",
    "readable",
]

# damaged videos that are named; the others are counted
NAMED = 20


@dataclass(frozen=True)
class PersonParts:
    """Tracklets to train on and of other persons to validate on."""

    train: list[Tracklet]
    val: list[Tracklet]
    folder: Path | None

    @property
    def persons(self) -> tuple[str, ...]:
        """Return the persons to train on."""
        return tuple(sorted({tracklet.person for tracklet in self.train}))


def open_people(recipe: IdentityRecipe, data: str | None = None) -> People:
    """Return the tracklets of a recipe's data, or of others."""
    if not (data or recipe.data):
        raise RunError(
            f"recipe {recipe.name} needs data; pass --data mars:DIR, or a folder with a folder of "
            "videos for each person"
        )
    return load_people(data or recipe.data, recipe.camera)


def person_parts(recipe: IdentityRecipe, people: People | None = None) -> PersonParts:
    """Return the tracklets to train on, and those of persons that are held out.

    Raises:
        RunError: there are too few persons, or none of the held-out ones can be found again.
    """
    people = people or open_people(recipe)
    train, val = people.train, people.val
    if not train:
        raise RunError(
            f"{people.name} has no part to train on; it is for lean3d evaluate RUN --data, and "
            "people:DIR or mars:DIR train"
        )
    if not val:
        train, val = _hold_out(recipe, people.name, train)
    if not _searchable(val):
        raise RunError(
            f"{people.name}: no person of the validation part has two videos"
            + (" by two cameras" if val[0].camera is not None else "")
            + "; without them nothing can be searched for"
        )
    num = len({tracklet.person for tracklet in train})
    size = place().size
    if num < recipe.persons * size:
        fits = f"--batch-size {recipe.per_person * max(num // size, 2)}"
        raise RunError(
            f"a batch of recipe {recipe.name} has {recipe.persons * size} persons, and "
            f"{people.name} has {num} to train on; pass {fits}"
            + (", or fewer --devices" if size > 1 else "")
        )
    return PersonParts(train, val, people.folder)


def _hold_out(
    recipe: IdentityRecipe, name: str, every: list[Tracklet]
) -> tuple[list[Tracklet], list[Tracklet]]:
    """Return tracklets to train on, and all of some persons that can be searched for."""
    persons = sorted({tracklet.person for tracklet in every})
    free = sorted(_searchable(every))
    random.Random(recipe.seed).shuffle(free)
    num = max(round(recipe.held_out * len(persons)), 2)
    held = set(free[:num])
    if len(held) < 2 or len(persons) - len(held) < 2:
        raise RunError(
            f"{name} has {len(persons)} person(s), {len(free)} of them with two videos"
            " (by two cameras, if these are known); four persons are needed, two of them to hold "
            "out with two videos each"
        )
    return [t for t in every if t.person not in held], [t for t in every if t.person in held]


def _searchable(tracklets: list[Tracklet]) -> set[str]:
    """Return the persons with two videos that can find each other."""
    cameras: dict[str, list[int | None]] = {}
    for tracklet in tracklets:
        cameras.setdefault(tracklet.person, []).append(tracklet.camera)
    return {
        person
        for person, own in cameras.items()
        if len(own) > 1 and (None in own or len(set(own)) > 1)
    }


def person_look(recipe: IdentityRecipe) -> Look:
    """Return the size, crop and colours of its clips."""
    colours: Any = {} if recipe.mean is None else dict(mean=recipe.mean, std=recipe.std)
    sides: Any = recipe.short_side
    return Look(
        recipe.sides, recipe.crop, sides, recipe.flip, channels=recipe.in_channels, **colours
    )


def readable(
    recipe: IdentityRecipe, tracklets: list[Tracklet], folder: Path | None
) -> tuple[list[Tracklet], dict[Path, FrameTimes]]:
    """Return the tracklets whose videos can be read, and the times of their frames."""
    times, errors = frame_times(tracklets, folder, skip_damaged=recipe.skip_damaged)
    for error in errors[:NAMED]:
        print(f"lean3d: left out: {error}", file=sys.stderr)
    if len(errors) > NAMED:
        print(f"lean3d: left out: {len(errors) - NAMED} more damaged videos", file=sys.stderr)
    return [t for t in tracklets if t.images or t.path in times], times


def person_order(recipe: IdentityRecipe, clips: TrackletClips) -> PersonSampler:
    """Return the order of the clips to train on, several of each person after each other.

    Of several processes each gets whole persons of every batch of all.
    """
    own, labels = place(), [tracklet.person for tracklet in clips.tracklets]
    return PersonSampler(
        labels,
        recipe.persons * own.size,
        recipe.per_person,
        recipe.train_samples,
        recipe.seed,
        rank=own.rank,
        size=own.size,
    )


def person_clips(recipe: IdentityRecipe) -> tuple[TrackletClips, TrackletClips]:
    """Return clips to train on and to validate on.

    Raises:
        RunError: the recipe has other persons than the data.
    """
    parts = person_parts(recipe)
    persons = parts.persons
    if (recipe.num_classes, recipe.class_names) != (len(persons), persons):
        raise RunError(
            f"{recipe.data} has {len(persons)} persons to train on, and recipe {recipe.name} names "
            f"{recipe.num_classes}, or others; leave --num-classes and --class-names out"
        )
    train, times = readable(recipe, parts.train, parts.folder)
    val, more = readable(recipe, parts.val[: recipe.val_samples], parts.folder)
    if {t.person for t in train} != set(persons) or not _searchable(val):
        raise DataError(f"{recipe.data}: without its damaged videos a person has none left")
    given: Any = dict(window=ClipWindow(recipe.clip, recipe.step), look=person_look(recipe))
    numbers = {person: number for number, person in enumerate(persons)}
    others = {person: number for number, person in enumerate(sorted({t.person for t in val}))}
    return (
        TrackletClips(train, numbers, recipe.seed, blur=recipe.blur, times=times, **given),
        TrackletClips(val, others, recipe.seed, vary=False, times=more, **given),
    )
