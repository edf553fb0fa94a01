"""The volumes of a run that learns affinities: read, scaled, split by sections.

Axes: C channels, D depth (sections), H height, W width.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lean3d.data import Neurites, Volume, find_items, instances_of_membranes
from lean3d.data.formats.registry import Scan, Window
from lean3d.data.read import open_scan, read_scan
from lean3d.errors import DataError, RunError
from lean3d.recipes.affinity import AffinityRecipe

__all__ = [
    "DRAWN_NM",
    "NM",
    "em_volumes",
    "label_window",
    "scale_em",
    "split_sections",
    "with_scaling",
]

NM = 1e-6  # in millimetres
# of the drawn volume: voxels, and their size in nanometres
DRAWN, DRAWN_NM = (96, 128, 128), (10.0, 10.0, 10.0)


def em_volumes(recipe: AffinityRecipe) -> list[Volume]:
    """Read the labelled volumes of a recipe's data, values as in the files.

    Raises:
        RunError: the recipe names no data, or no labels for one file.
        DataError: image and labels do not fit, or cannot be read.
    """
    if recipe.data == "neurites":
        voxel = recipe.voxel_nm or DRAWN_NM
        return [Neurites(shape=DRAWN, voxel_nm=(voxel[0], voxel[1], voxel[2])).volume()]
    if not recipe.data:
        raise RunError(
            f"recipe {recipe.name} needs data; pass --data with a volume and --labels with its "
            "instances: --data cremi.h5:volumes/raw --labels cremi.h5:volumes/labels/neuron_ids"
        )
    if recipe.labels is not None:
        return [_read(recipe, recipe.data, recipe.labels)]
    if not Path(recipe.data).is_dir() and ":" not in recipe.data:
        raise RunError(
            f"recipe {recipe.name} needs the labels of {recipe.data}; pass --labels with their file"
        )
    volumes = []
    for item in find_items(recipe.data).items:
        if isinstance(item.image, tuple) or not isinstance(item.label, Path):
            raise RunError(f"{item.name} of {recipe.data} needs one image and one file of labels")
        volumes.append(replace(_read(recipe, item.image, item.label), name=item.name))
    return volumes


def _read(recipe: AffinityRecipe, image: str | Path, labels: str | Path) -> Volume:
    window = label_window(open_scan(Path(image)), image, open_scan(Path(labels)), labels)
    x_CDHW, scan = read_scan(Path(image), window)
    label = read_instances(labels)
    if recipe.membranes:
        label = instances_of_membranes(label)
    affine = scan.grid.affine
    if recipe.voxel_nm is not None:
        affine = np.diag([*(NM * np.array(recipe.voxel_nm)), 1.0])
    return Volume(torch.from_numpy(x_CDHW), label, affine, Path(image).name)


def label_window(
    image: Scan, image_path: str | Path, labels: Scan, label_path: str | Path
) -> Window | None:
    """Return the part of an image that its labels are of; None for all of it.

    Raises:
        DataError: the labels are of another shape, and no part of the image by their offset.
    """
    whole, sizes = image.grid.shape, labels.grid.shape
    if sizes == whole:
        return None
    first = [a - b for a, b in zip(labels.first, image.first, strict=True)]
    inside = all(f >= 0 and f + n <= size for f, n, size in zip(first, sizes, whole, strict=True))
    if not inside or labels.first == image.first:
        raise DataError(
            f"the labels {label_path} are {_text(sizes)} voxels (depth, height, width) and the "
            f"image {image_path} is {_text(whole)}, and no attribute `offset` says which part they "
            "are of; crop or pad one of them"
        )
    z, y, x = (slice(f, f + n) for f, n in zip(first, sizes, strict=True))
    return z, y, x


def read_instances(path: str | Path) -> Tensor:
    """Read the labels of instances, whole numbers of up to 64 bits, renumbered from 1.

    Unlabelled voxels, which have the highest numbers of uint64 in CREMI's files, are -1; 0 stays 0.

    Shape: (D, H, W) int64.
    """
    scan = open_scan(Path(path))
    stored = scan.load(slice(None))
    if stored.dtype.kind not in "iub" or len(stored) != 1:
        kind = f"{len(stored)} channels" if len(stored) != 1 else f"{stored.dtype} values"
        raise DataError(
            f"{path} has {kind}, and labels of instances are one whole number a voxel; give the "
            "file of the labels"
        )
    found, places = np.unique(stored[0].astype(np.int64), return_inverse=True)
    numbers: np.ndarray = np.cumsum(found > 0) * (found > 0) - (found < 0)
    return torch.from_numpy(numbers[places].reshape(stored[0].shape))


def split_sections(volume: Volume, held_out: float) -> tuple[Volume, Volume]:
    """Return the first sections, to train on, and the last ones.

    Raises:
        RunError: the volume has too few sections.
    """
    depth = volume.image.shape[1]
    last = round(held_out * depth)
    if not 0 < last < depth:
        raise RunError(
            f"{volume.name} has {depth} section(s), of which held_out={held_out:g} leaves none to "
            "train on or none to validate on; change held_out"
        )
    return volume.crop(0, 0, depth - last), volume.crop(0, depth - last, depth)


def with_scaling(recipe: AffinityRecipe, volumes: Sequence[Volume]) -> AffinityRecipe:
    """Measure mean and deviation of the training sections, unless the recipe has them."""
    channels = volumes[0].image.shape[0]
    for volume in volumes:
        if recipe.in_channels not in (0, channels) or volume.image.shape[0] != channels:
            raise RunError(
                f"{volume.name} has {volume.image.shape[0]} channels and the recipe "
                f"{recipe.in_channels or channels}; pass --in-channels {volume.image.shape[0]}"
            )
    recipe = replace(recipe, in_channels=channels, num_classes=len(recipe.channels))
    if recipe.scaling is not None:
        return recipe
    train = [split_sections(volume, recipe.held_out)[0].image for volume in volumes]
    scaling = []
    for channel in range(channels):
        values = torch.cat([image[channel].flatten() for image in train]).double()
        # a constant image is refused where it is read
        scaling += [round(values.mean().item(), 4), max(round(values.std().item(), 4), 1e-4)]
    return replace(recipe, scaling=tuple(scaling))


def scale_em(recipe: AffinityRecipe, image_CDHW: Tensor) -> Tensor:
    """Return the input of the network: less the mean, by the deviation of the training sections."""
    assert recipe.scaling is not None
    mean, deviation = (torch.tensor(recipe.scaling[i::2]).view(-1, 1, 1, 1) for i in (0, 1))
    return (image_CDHW.float() - mean) / deviation


def _text(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
