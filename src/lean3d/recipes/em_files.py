"""Labelled volumes of electron microscopy in their files, of which parts are read.

Axes: C channels, D depth (sections), H height, W width.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lean3d.data import Volume, find_items, instances_of_membranes, list_layouts
from lean3d.data.folder import by_stem, scans_in
from lean3d.data.formats.registry import Scan, Window, is_scan, split
from lean3d.data.read import open_scan, read_scan
from lean3d.errors import DataError, RunError
from lean3d.limits import free_memory
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.shape import Triple

__all__ = [
    "NM",
    "EmFiles",
    "check_same_voxels",
    "em_files",
    "label_window",
    "read_instances",
    "stay_in_files",
]

NM = 1e-6  # in millimetres
SLAB = 16  # sections that are measured at once
SAME = 0.01  # by which two files may differ in the size of a voxel


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
            check_same_voxels(scan, image, numbers, labels)
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
        for stored in self._stored(0, self.shape[0]):
            if self.membranes:
                count += int(instances_of_membranes(torch.from_numpy(stored)).max())
            else:
                found = np.union1d(found, stored)
        return count + int((found > 0).sum())

    def highest(self, first: int, last: int) -> int:
        """Return the highest label of sections: above 0 where there is an instance."""
        return max(int(stored.max()) for stored in self._stored(first, last))

    def _stored(self, first: int, last: int) -> Iterator[np.ndarray]:
        for slab in self._slabs(first, last):
            yield open_scan(self.labels).load(slab)[0].astype(np.int64)

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
        pairs = _pairs(recipe.data, recipe.labels)
        return [EmFiles.of(recipe, image, labels, name) for name, image, labels in pairs]
    path, inside = split(Path(recipe.data))
    of_layout = recipe.data.partition(":")[0] in list_layouts()
    if inside is not None or is_scan(path) or not (path.is_dir() or of_layout):
        raise RunError(
            f"recipe {recipe.name} needs the labels of {recipe.data}; pass --labels with their file"
        )
    files = []
    for item in find_items(recipe.data).items:
        if isinstance(item.image, tuple) or not isinstance(item.label, Path):
            raise RunError(f"{item.name} of {recipe.data} needs one image and one file of labels")
        files.append(EmFiles.of(recipe, item.image, item.label, item.name))
    return files


def _pairs(data: str, labels: str) -> list[tuple[str | None, Path, Path]]:
    """Return an image with its labels, or all of two folders, by their names.

    `folder:volumes/raw` is what is called so in each file of a folder.
    """
    images = _in_folder(data, None)
    numbers = _in_folder(labels, None if images is None else images.keys())
    if images is None or numbers is None:
        if images is not None or numbers is not None:
            many, one = (data, labels) if numbers is None else (labels, data)
            raise DataError(
                f"{many} is a folder of volumes and {one} is one volume; give two folders, or two "
                "files"
            )
        return [(None, Path(data), Path(labels))]
    if odd := sorted(images.keys() ^ numbers.keys()):
        there, missing = (data, labels) if odd[0] in images else (labels, data)
        raise DataError(
            f"{there} has a volume {odd[0]} and {missing} has none of that name; images and labels "
            "are paired by their names"
        )
    return [(name, images[name], numbers[name]) for name in sorted(images)]


def _in_folder(text: str, keep: Iterable[str] | None) -> dict[str, Path] | None:
    """Return the volumes of a folder by name; None for what is no folder of volumes."""
    path, inside = split(Path(text))
    if not path.is_dir() or is_scan(path):
        return None
    found = by_stem(scans_in(path), None if keep is None else set(keep))
    if not found:
        raise DataError(f"{path} is a folder that holds no volume; give the folder of the files")
    return {name: Path(f"{one}:{inside}") if inside else one for name, one in found.items()}


def stay_in_files(files: Sequence[EmFiles]) -> bool:
    """Whether volumes are so large, beside the memory that is free, that windows are read."""
    free = free_memory()
    return free is not None and 2 * sum(one.size for one in files) > free


def label_window(
    image: Scan, image_path: str | Path, labels: Scan, label_path: str | Path
) -> Window | None:
    """Return the part of an image that its labels are of; None for all of it.

    Raises:
        DataError: the labels are of another shape, and no part of the image by their offset; or of
            another place; or they are the image.
    """
    _check_others(image_path, label_path)
    whole, sizes = image.grid.shape, labels.grid.shape
    if sizes == whole and (labels.first is None or image.first in (None, labels.first)):
        return None
    where = "no attribute `offset` says which part they are of"
    if labels.first is not None:
        start = image.first or (0, 0, 0)
        first = [a - b for a, b in zip(labels.first, start, strict=True)]
        ends = zip(first, sizes, whole, strict=True)
        if all(f >= 0 and f + n <= size for f, n, size in ends):
            z, y, x = (slice(f, f + n) for f, n in zip(first, sizes, strict=True))
            return z, y, x
        where = f"by their offset they begin at voxel {', '.join(map(str, first))} of it"
    raise DataError(
        f"the labels {label_path} are {_text(sizes)} voxels (depth, height, width) and the "
        f"image {image_path} is {_text(whole)}, and {where}; crop or pad one of them"
    )


def check_same_voxels(
    image: Scan, image_path: str | Path, labels: Scan, label_path: str | Path
) -> None:
    """Refuse labels whose file says another size of voxels than that of the image."""
    if not (image.grid.known and labels.grid.known):
        return
    sides = [np.array(scan.grid.spacing) / NM for scan in (image, labels)]
    if not np.allclose(sides[0], sides[1], rtol=SAME):
        own, other = (" x ".join(f"{side:g}" for side in one) for one in sides)
        raise DataError(
            f"voxels of the labels {label_path} are {other} nm and those of the image {image_path} "
            f"{own} nm; give labels of the same voxels, or --voxel-nm if one of the files is wrong"
        )


def _check_others(image: str | Path, labels: str | Path) -> None:
    """Refuse labels that are the image, or are not named in the file of both."""
    (file, inside), (other, name) = split(Path(image)), split(Path(labels))
    if file.resolve() == other.resolve() and name in (None, inside):
        raise DataError(
            f"the labels {labels} are the image {image}, or not named in its file; give the file "
            f"of the labels, or their name, such as {file}:volumes/labels/neuron_ids"
        )


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


def _text(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
