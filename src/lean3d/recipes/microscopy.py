"""The volumes of a run that learns affinities: read, scaled, split by sections.

Axes: C channels, D depth (sections), H height, W width.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lean3d.data import Neurites, Volume, find_items, instances_of_membranes
from lean3d.data.formats.registry import Scan, Window
from lean3d.data.read import open_scan, read_scan
from lean3d.errors import DataError, RunError
from lean3d.limits import free_memory
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.shape import Triple

__all__ = [
    "DRAWN_NM",
    "NM",
    "EmFiles",
    "em_files",
    "em_volumes",
    "first_held_out",
    "label_window",
    "scale_em",
    "split_sections",
    "stay_in_files",
    "with_scaling",
]

NM = 1e-6  # in millimetres
SLAB = 16  # sections that are measured at once
# of the drawn volume: voxels, and their size in nanometres
DRAWN, DRAWN_NM = (96, 128, 128), (10.0, 10.0, 10.0)


@dataclass(frozen=True, eq=False)
class EmFiles:
    """A labelled volume in its files, of which windows are read.

    Args:
        window: The part of the image that the labels are of; None for all of it.
        spacing: Millimetres along D, H, W.
    """

    image: Path
    labels: Path
    window: Window | None
    shape: Triple
    channels: int
    spacing: tuple[float, float, float]
    name: str
    membranes: bool

    @classmethod
    def of(
        cls, recipe: AffinityRecipe, image: str | Path, labels: str | Path, name: str | None = None
    ) -> "EmFiles":
        """Open both, by their headers.

        Raises:
            DataError: they do not fit, or nothing says how large voxels are.
        """
        scan, numbers = open_scan(Path(image)), open_scan(Path(labels))
        window = label_window(scan, image, numbers, labels)
        _check_instances(numbers, labels)
        if recipe.voxel_nm is not None:
            depth, height, width = (NM * side for side in recipe.voxel_nm)
        elif scan.grid.known:
            depth, height, width = scan.grid.spacing
        else:
            raise DataError(
                f"{image} does not say how large its voxels are; pass --voxel-nm d h w, or write "
                "their size into the file"
            )
        return cls(
            image=Path(image),
            labels=Path(labels),
            window=window,
            shape=numbers.grid.shape,
            channels=scan.channels,
            spacing=(depth, height, width),
            name=name or Path(image).name,
            membranes=recipe.membranes,
        )

    @property
    def size(self) -> int:
        """Bytes in memory: the image as it is and as it is scaled, and labels."""
        return math.prod(self.shape) * (8 * self.channels + 16)

    def volume(self, sections: slice = slice(None)) -> Volume:
        """Read sections; labels are renumbered from 1.

        Shape: as `Volume` has it.
        """
        depth, height, width = self.shape
        first, last, _ = sections.indices(depth)
        part = (
            None
            if self.window is None and (first, last) == (0, depth)
            else self._moved((slice(first, last), slice(0, height), slice(0, width)))
        )
        x_CDHW, _ = read_scan(self.image, part)
        label = read_instances(self.labels, sections)
        if self.membranes:
            label = instances_of_membranes(label)
        affine = np.diag([*self.spacing, 1.0])
        return Volume(torch.from_numpy(x_CDHW), label, affine, self.name)

    def read(self, window: Window) -> tuple[Tensor, Tensor]:
        """Read a window of image and labels; labels have the numbers of the file.

        Shape: (C, d, h, w) float32 and (d, h, w) int64.
        """
        image = _tensor(open_scan(self.image).window(self._moved(window)), np.float32)
        if not image.isfinite().all():
            raise DataError(f"{self.image} holds NaN or infinity; replace them")
        z, y, x = window
        if self.membranes:
            # cells are those of whole sections
            (stored,) = open_scan(self.labels).load(z)
            return image, instances_of_membranes(_tensor(stored, np.int64))[:, y, x].contiguous()
        (stored,) = open_scan(self.labels).window(window)
        return image, _tensor(stored, np.int64)

    def instances(self) -> int:
        """Count them, slab by slab."""
        found, count = np.zeros(0, np.int64), 0
        for slab in self._slabs(0, self.shape[0]):
            stored = open_scan(self.labels).load(slab)[0].astype(np.int64)
            if self.membranes:
                count += int(instances_of_membranes(torch.from_numpy(stored)).max())
            else:
                found = np.union1d(found, stored)
        return count + int((found > 0).sum())

    def moments(self, first: int, last: int) -> np.ndarray:
        """Return for each channel the number of values of sections, their sum and that of squares.

        Shape: (3, C) float64.
        """
        total = np.zeros((3, self.channels))
        _, height, width = self.shape
        for slab in self._slabs(first, last):
            window = self._moved((slab, slice(0, height), slice(0, width)))
            values = open_scan(self.image).window(window).reshape(self.channels, -1).astype(float)
            total += [[values.shape[1]] * self.channels, values.sum(1), (values**2).sum(1)]
        return total

    def _slabs(self, first: int, last: int) -> Iterator[slice]:
        return (slice(z, min(z + SLAB, last)) for z in range(first, last, SLAB))

    def _moved(self, window: Window) -> Window:
        """Return the window of the labels in the image."""
        if self.window is None:
            return window
        z, y, x = (
            slice(w.start + whole.start, w.stop + whole.start)
            for w, whole in zip(window, self.window, strict=True)
        )
        return z, y, x


def _tensor(values: np.ndarray, kind: type) -> Tensor:
    return torch.from_numpy(np.require(values, kind, ["C", "W"]))


def em_files(recipe: AffinityRecipe) -> list[EmFiles]:
    """Open the labelled volumes of a recipe's data; none are drawn.

    Raises:
        RunError: the recipe names no data, or no labels for one file.
        DataError: image and labels do not fit, or cannot be read.
    """
    if not recipe.data:
        raise RunError(
            f"recipe {recipe.name} needs data; pass --data with a volume and --labels with its "
            "instances: --data cremi.h5:volumes/raw --labels cremi.h5:volumes/labels/neuron_ids"
        )
    if recipe.labels is not None:
        return [EmFiles.of(recipe, recipe.data, recipe.labels)]
    if not Path(recipe.data).is_dir() and ":" not in recipe.data:
        raise RunError(
            f"recipe {recipe.name} needs the labels of {recipe.data}; pass --labels with their file"
        )
    files = []
    for item in find_items(recipe.data).items:
        if isinstance(item.image, tuple) or not isinstance(item.label, Path):
            raise RunError(f"{item.name} of {recipe.data} needs one image and one file of labels")
        files.append(EmFiles.of(recipe, item.image, item.label, item.name))
    return files


def stay_in_files(files: Sequence[EmFiles]) -> bool:
    """Whether volumes are so large, beside the memory that is free, that windows are read."""
    free = free_memory()
    return free is not None and 2 * sum(one.size for one in files) > free


def em_volumes(recipe: AffinityRecipe, *, held_out: bool = False) -> list[Volume]:
    """Read the labelled volumes of a recipe's data, values as in the files.

    Args:
        held_out: Read the held-out sections alone.

    Raises:
        RunError, DataError: as for `em_files`.
    """
    if recipe.data == "neurites":
        voxel = recipe.voxel_nm or DRAWN_NM
        drawn = Neurites(shape=DRAWN, voxel_nm=(voxel[0], voxel[1], voxel[2])).volume()
        return [split_sections(drawn, recipe.held_out)[1] if held_out else drawn]
    files = em_files(recipe)
    if not held_out:
        return [one.volume() for one in files]
    return [
        one.volume(slice(first_held_out(one.name, one.shape[0], recipe.held_out), one.shape[0]))
        for one in files
    ]


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


def _check_instances(scan: Scan, path: str | Path) -> None:
    if scan.dtype.kind not in "iub" or scan.channels != 1:
        kind = f"{scan.channels} channels" if scan.channels != 1 else f"{scan.dtype} values"
        raise DataError(
            f"{path} has {kind}, and labels of instances are one whole number a voxel; give the "
            "file of the labels"
        )


def read_instances(path: str | Path, sections: slice = slice(None)) -> Tensor:
    """Read the labels of instances, whole numbers of up to 64 bits, renumbered from 1.

    Unlabelled voxels, which have the highest numbers of uint64 in CREMI's files, are -1; 0 stays 0.

    Shape: (D, H, W) int64.
    """
    scan = open_scan(Path(path))
    _check_instances(scan, path)
    stored = scan.load(sections)
    found, places = np.unique(stored[0].astype(np.int64), return_inverse=True)
    numbers: np.ndarray = np.cumsum(found > 0) * (found > 0) - (found < 0)
    return torch.from_numpy(numbers[places].reshape(stored[0].shape))


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


def _text(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
