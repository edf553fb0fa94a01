"""The volumes of a run that learns affinities: read, scaled, split by sections.

Axes: C channels, D depth (sections), H height, W width.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lean3d.data import Neurites, Volume
from lean3d.errors import RunError
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.em_files import EmFiles, em_files

__all__ = [
    "DRAWN_NM",
    "check_labelled",
    "em_volumes",
    "first_held_out",
    "scale_em",
    "split_sections",
    "with_scaling",
]

# of the drawn volume: voxels, and their size in nanometres
DRAWN, DRAWN_NM = (96, 128, 128), (10.0, 10.0, 10.0)


def em_volumes(
    recipe: AffinityRecipe, *, held_out: bool = False, files: Sequence[EmFiles] | None = None
) -> list[Volume]:
    """Read the labelled volumes of a recipe's data, values as in the files.

    Args:
        held_out: Read the held-out sections alone.
        files: Those of the data, if they are open.

    Raises:
        RunError, DataError: as for `em_files`.
    """
    if recipe.data == "neurites":
        voxel = recipe.voxel_nm or DRAWN_NM
        drawn = Neurites(shape=DRAWN, voxel_nm=(voxel[0], voxel[1], voxel[2])).volume()
        return [split_sections(drawn, recipe.held_out)[1] if held_out else drawn]
    files = em_files(recipe) if files is None else files
    if not held_out:
        return [one.volume() for one in files]
    return [
        one.volume(slice(first_held_out(one.name, one.shape[0], recipe.held_out), one.shape[0]))
        for one in files
    ]


def split_sections(volume: Volume, held_out: float) -> tuple[Volume, Volume]:
    """Return the first sections, to train on, and the last ones.

    Raises:
        RunError: the volume has too few sections.
    """
    depth = volume.image.shape[1]
    first = first_held_out(volume.name, depth, held_out)
    return volume.crop(0, 0, first), volume.crop(0, first, depth)


def first_held_out(name: str, depth: int, held_out: float) -> int:
    """Return the first of the last sections, that validate.

    Raises:
        RunError: there are too few sections.
    """
    last = round(held_out * depth)
    if not 0 < last < depth:
        raise RunError(
            f"{name} has {depth} section(s), of which held_out={held_out:g} leaves none to "
            "train on or none to validate on; change held_out"
        )
    return depth - last


def check_labelled(recipe: AffinityRecipe, volumes: Sequence[Volume | EmFiles]) -> None:
    """Refuse labels of which nothing could be learnt, or validated.

    Raises:
        RunError: no section to train on has an instance, or none to validate on a known voxel.
    """
    train, held_out = zip(*(_highest(recipe, volume) for volume in volumes), strict=True)
    names = ", ".join(volume.name for volume in volumes[:3])
    share = f"held_out={recipe.held_out:g}"
    if max(train) < 1:
        raise RunError(
            f"the labels of {names} have no instance in the sections to train on, all but the last "
            f"({share}); check the labels"
        )
    if max(held_out) < 0:
        raise RunError(
            f"the labels of {names} have no labelled voxel in the last sections ({share}), which "
            "validate; leave unlabelled sections out, or change held_out"
        )


def _highest(recipe: AffinityRecipe, volume: Volume | EmFiles) -> tuple[int, int]:
    """Return the highest label to train on, and to validate on."""
    if isinstance(volume, EmFiles):
        depth = volume.shape[0]
        first = first_held_out(volume.name, depth, recipe.held_out)
        return volume.highest(0, first), volume.highest(first, depth)
    parts = [part.label for part in split_sections(volume, recipe.held_out)]
    highest = [-1 if label is None else int(label.max()) for label in parts]
    return highest[0], highest[1]


def with_scaling(recipe: AffinityRecipe, volumes: Sequence[Volume | EmFiles]) -> AffinityRecipe:
    """Measure mean and deviation of the training sections, unless the recipe has them."""
    counts = [v.channels if isinstance(v, EmFiles) else len(v.image) for v in volumes]
    for volume, channels in zip(volumes, counts, strict=True):
        if recipe.in_channels not in (0, counts[0]) or channels != counts[0]:
            raise RunError(
                f"{volume.name} has {channels} channels and the recipe "
                f"{recipe.in_channels or counts[0]}; pass --in-channels {channels}"
            )
    recipe = replace(recipe, in_channels=counts[0], num_classes=len(recipe.channels))
    if recipe.scaling is not None:
        return recipe
    number, total, squares = np.sum([_moments(recipe, volume) for volume in volumes], 0)
    means = total / number
    deviations = np.sqrt(np.maximum(squares - number * means**2, 0) / (number - 1))
    scaling: list[float] = []
    for mean, deviation in zip(means.tolist(), deviations.tolist(), strict=True):
        # a constant image is refused where it is read
        scaling += [round(mean, 4), max(round(deviation, 4), 1e-4)]
    return replace(recipe, scaling=tuple(scaling))


def _moments(recipe: AffinityRecipe, volume: Volume | EmFiles) -> np.ndarray:
    """As `EmFiles.moments`, of the sections to train on."""
    if isinstance(volume, EmFiles):
        return volume.moments(0, first_held_out(volume.name, volume.shape[0], recipe.held_out))
    train = split_sections(volume, recipe.held_out)[0].image.flatten(1).double().numpy()
    return np.array([[train.shape[1]] * len(train), train.sum(1), (train**2).sum(1)])


def scale_em(recipe: AffinityRecipe, image_CDHW: Tensor) -> Tensor:
    """Return the input of the network: less the mean, by the deviation of the training sections."""
    assert recipe.scaling is not None
    mean, deviation = (torch.tensor(recipe.scaling[i::2]).view(-1, 1, 1, 1) for i in (0, 1))
    return (image_CDHW.float() - mean) / deviation
