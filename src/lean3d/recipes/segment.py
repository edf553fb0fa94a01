"""Segment scans with one run, or several whose probabilities are averaged, into mask files."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lean3d.data import Masks, Volume, load_volume
from lean3d.data.folder import ImagePath
from lean3d.data.grid import Grid
from lean3d.data.mask import (
    check_masks,
    on_grid_of,
    save_probabilities,
    write_files,
    write_masks,
)
from lean3d.data.on_disk import bytes_of, load_on_disk, mapped
from lean3d.data.read import open_scan
from lean3d.data.tidy import fill_holes, keep_largest
from lean3d.errors import RunError
from lean3d.infer import predict_labels
from lean3d.infer.labels import ROOM
from lean3d.limits import free_memory
from lean3d.recipes.fast import fast_network
from lean3d.recipes.intensity import check_channels, scaled, scales
from lean3d.recipes.load import load_run, read_recipe
from lean3d.recipes.predict import mask_on_grid, predict
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.shape import Triple, triple

__all__ = ["Segmented", "Segmenter", "described", "recipe_that_segments"]

# spacings that differ by a smaller share are one
SAME = 0.05
# of a recipe: runs that differ in these cannot be averaged
SHARED = "num_classes", "class_names", "in_channels", "sides_mm", "patch", "regions", "masks"
# commands for runs of other tasks
INSTEAD = {"classification": "use lean3d stream", "identity": "use lean3d index and search"}


def recipe_that_segments(run: str | Path) -> SegmentationRecipe:
    """Return the recipe of a run, without loading its network.

    Raises:
        RunError: it learnt something else.
    """
    recipe = read_recipe(Path(run))
    if not isinstance(recipe, SegmentationRecipe):
        instead = INSTEAD.get(recipe.task, "score it by lean3d evaluate")
        raise RunError(f"{run} learnt {recipe.task} and does not segment; {instead}")
    return recipe


@dataclass(frozen=True)
class Segmented:
    """What was found in a scan.

    Args:
        counts: Voxels of each class.
        spacing_mm: Of the scan, along D, H, W; None if no file says it.
        said: What to tell: that it was resampled, or could not be.
    """

    counts: dict[str, int]
    spacing_mm: tuple[float, float, float] | None
    said: str | None


def described(image: ImagePath) -> str:
    """Return the size of a scan in words, from the header of its file."""
    grid = _grid(image)
    size = " x ".join(map(str, grid.shape))
    sides = " x ".join(f"{side:.4g}" for side in grid.spacing)
    return f"{size} voxels of {sides} mm" if grid.known else f"{size} voxels"


@dataclass
class Segmenter:
    """Runs that segment scans together.

    Args:
        runs: Folders of runs; their probabilities are averaged.
        overlap: Overlapping share of consecutive windows; the first recipe's by default.
        batch_size: Windows at a time; the recipe's by default.
        device: Where to compute.
        largest: Keep only the largest piece of each class.
        fill: Fill holes of each class.
        progress: Called with the share of a scan that is done.
        mirror: Axes (0 d, 1 h, 2 w) along which windows are mirrored as well; the probabilities are
            averaged.
        memory: Bytes to work in; a scan that takes most of them, as read and as scaled, is kept in
            files beside the mask. What is free by default. An eighth, and 256 MB at least, is for
            probabilities; with less of it more windows are computed twice.
        optimize: Run the networks by the fastest backend, which is found at the first window.
        precision: What convolutions are computed in then.
        members: The networks of the runs with their recipes, if they are loaded already.

    Raises:
        RunError: a run segments nothing, or they cannot be averaged.
    """

    runs: Sequence[str | Path]
    overlap: float | None = None
    batch_size: int | None = None
    device: torch.device | str | None = None
    largest: bool = False
    fill: bool = False
    progress: Callable[[float], None] | None = None
    mirror: Sequence[int] = ()
    memory: int | None = None
    optimize: bool = False
    precision: str = "float32"
    members: Sequence[tuple[nn.Module, SegmentationRecipe]] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.runs:
            raise RunError("predict needs a trained run; give its folder")
        self.members = list(self.members) or [self._member(run) for run in self.runs]
        first = self.recipe
        self.overlap = first.overlap if self.overlap is None else self.overlap
        for run, (_, recipe) in zip(self.runs, self.members, strict=True):
            for name in SHARED:
                mine, other = getattr(recipe, name), getattr(first, name)
                if mine != other:
                    what = "spacing_mm" if name == "sides_mm" else name
                    raise RunError(
                        f"{run} and {self.runs[0]} cannot be averaged: {what} is {mine} and {other}"
                    )

    def _member(self, run: str | Path) -> tuple[nn.Module, SegmentationRecipe]:
        recipe = recipe_that_segments(run)
        model, _ = load_run(run)
        return fast_network(model, run, self.precision) if self.optimize else model, recipe

    @property
    def recipe(self) -> SegmentationRecipe:
        """That of the first run."""
        return self.members[0][1]

    def segment(
        self,
        image: ImagePath,
        outputs: Sequence[str | Path],
        probabilities: str | Path | None = None,
    ) -> Segmented:
        """Segment a scan into mask files, each whole or not there, on the scan's own grid.

        Args:
            outputs: Masks to write; their suffixes choose the formats. Of a run that learnt several
                masks they are the files that `written` returns.
            probabilities: Also write the probability of every class here.
        """
        check_masks(outputs, image)
        if probabilities is None:
            mask = self.mask(image, Path(outputs[0]).parent)
        else:
            mask, scores_KDHW, frame = self._whole(image)
            save_probabilities(probabilities, scores_KDHW, frame, image)
        return self._written(image, mask, outputs)

    def mask(self, image: ImagePath, beside: Path) -> np.ndarray:
        """Return the mask that `segment` writes, (D, H, W) uint8 on the scan's own grid.

        Of a run that learnt several masks it holds the numbers of a label (lean3d.data.masks).

        Args:
            beside: Folder for files of a scan that takes most of the memory; they are removed.
        """
        if not self._by_parts(_grid(image).shape):
            return self._whole(image)[0]
        if self._is_large(image):
            return self._mask_on_disk(image, beside)
        volume = load_volume(image, spacing_mm=self._sides(image))
        frame, images = _without_voxels(volume), self._images(volume)
        # beside the scaled scan, the one of the file would take as much memory again
        del volume
        return self._tidy(on_grid_of(self._labels(images), frame, image))

    def _whole(self, image: ImagePath) -> tuple[np.ndarray, Tensor, Volume]:
        """Return the mask, the probabilities of the whole volume, and its grid."""
        volume = load_volume(image, spacing_mm=self._sides(image))
        frame, scores_KDHW = _without_voxels(volume), self._scores(volume)
        mask = mask_on_grid(self.recipe, scores_KDHW, frame, image, self._tidy)
        return mask, scores_KDHW, frame

    def _sides(self, image: ImagePath) -> tuple[float, float, float] | None:
        return self.recipe.sides_mm if _grid(image).known else None

    def _written(self, image: ImagePath, mask: np.ndarray, outputs: Any) -> Segmented:
        names = self.recipe.names
        masks = self.recipe.read_regions
        if isinstance(masks, Masks):
            parts: list[tuple[Path, np.ndarray, tuple[str, ...]]] = []
            for bit, name in enumerate(masks.names):
                inside = (mask >> bit & 1).astype(np.uint8)
                paths = (_named(Path(path), name) for path in outputs)
                parts += [(path, inside, ("background", name)) for path in paths]
            write_files(parts, image)
        else:
            write_masks(outputs, mask, image, names=names)
        grid = _grid(image)
        counts = np.zeros(max(256, len(names)), dtype=np.int64)
        for plane in mask:
            counts += np.bincount(plane.ravel(), minlength=len(counts))
        first = image[0] if isinstance(image, tuple) else image
        said = _said(str(first), grid.spacing if grid.known else None, self.recipe.sides_mm)
        voxels = dict(zip(names, counts.tolist(), strict=False))
        if isinstance(masks, Masks):
            numbers = range(2 ** len(masks.names))
            voxels = {"background": int(counts[0])} | {
                name: int(sum(counts[number] for number in numbers if name in masks.inside(number)))
                for name in masks.names
            }
        return Segmented(voxels, grid.spacing if grid.known else None, said)

    def written(self, path: str | Path) -> list[Path]:
        """Return the files for a mask of this name: of several masks NAME_MASK for each."""
        return [_named(Path(path), name) for name in self.recipe.masks] or [Path(path)]

    def _is_large(self, image: ImagePath) -> bool:
        """Whether the scan, as read and as scaled, and a batch leave no room in memory."""
        memory = self._memory()
        windows = math.prod(self._window()) * self._settings()["batch_size"]
        # of a batch: scores, their exponentials, and a copy
        batch = 3 * 4 * self.recipe.num_classes * windows
        return memory is not None and 2.5 * bytes_of(image) + batch + ROOM > memory

    def _memory(self) -> int | None:
        return free_memory() if self.memory is None else self.memory

    def _room(self) -> int:
        """Bytes for the probabilities that are held at a time."""
        return max(ROOM, (self._memory() or 0) // 8)

    def _mask_on_disk(self, image: ImagePath, beside: Path) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix=".lean3d-", dir=beside) as place:
            images: list[Tensor] = []
            for number, (_, recipe) in enumerate(self.members):
                folder = Path(place) / str(number)
                folder.mkdir()
                volume = load_on_disk(image, folder, self._sides(image), scales(recipe))
                check_channels(recipe, volume.name, len(volume.image))
                images.append(volume.image)
            label = mapped(Path(place) / "label.u8", volume.image.shape[1:], np.uint8)
            self._labels(images, out=label)
            # no view of a file that is removed
            return self._tidy(on_grid_of(label, _without_voxels(volume), image)).copy()

    def _tidy(self, mask: np.ndarray) -> np.ndarray:
        mask = keep_largest(mask) if self.largest else mask
        return fill_holes(mask) if self.fill else mask

    def _by_parts(self, shape: Sequence[int]) -> bool:
        """Whether classes are chosen without the probabilities of the whole volume."""
        recipe = self.recipe
        if recipe.activation == "sigmoid" or len(recipe.patch) == 3:
            return recipe.activation == "softmax"
        # batches of slices are quicker, where there is room for them
        large = 4 * recipe.num_classes * math.prod(shape) > self._room()
        # one pass cuts across one axis, for all runs
        axes = {axis for _, member in self.members for axis in member.axes}
        return large and len(axes) == 1 and min(shape) > 1

    def _images(self, volume: Volume) -> list[Tensor]:
        """The volume as each run takes it; runs of one scale share it."""
        images: list[Tensor] = []
        for _, recipe in self.members:
            first = next(i for i, (_, r) in enumerate(self.members) if r.scaling == recipe.scaling)
            known = images[first] if first < len(images) else scaled(recipe, volume).image
            images.append(known)
        return images

    def _labels(self, images: list[Tensor], out: Tensor | None = None) -> Tensor:
        models = [model for model, _ in self.members]
        if len(self.recipe.patch) == 2:
            models = [_Slices(model, self.recipe.axes[0]) for model in models]
        return predict_labels(
            models,
            images,
            self._window(),
            room=self._room(),
            progress=self.progress,
            out=out,
            mirror=self.mirror,
            **self._settings(),
        )

    def _window(self) -> Triple:
        """The windows (D, H, W) in which classes are chosen; of images a slice thick."""
        patch = self.recipe.patch
        if len(patch) == 2:
            axis = self.recipe.axes[0]
            patch = (*patch[:axis], 1, *patch[axis:])
        return triple(self.recipe.window or patch, "window")

    def _scores(self, volume: Volume) -> Tensor:
        with torch.inference_mode():
            total = torch.zeros(())
            for model, recipe in self.members:
                scores = predict(
                    model, recipe, scaled(recipe, volume), mirror=self.mirror, **self._settings()
                )
                total = scores if total.ndim == 0 else total.add_(scores)
            return total.div_(len(self.members))

    def _settings(self) -> dict[str, Any]:
        size = self.recipe.batch_size if self.batch_size is None else self.batch_size
        return dict(overlap=self.overlap, batch_size=size, device=self.device)


class _Slices(nn.Module):
    """A model of images as one of volumes that are a slice thick along an axis."""

    def __init__(self, model: nn.Module, axis: int):
        super().__init__()
        self.model, self.axis = model, axis

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.squeeze(2 + self.axis)).unsqueeze(2 + self.axis)


def _grid(image: ImagePath) -> Grid:
    return open_scan(Path(image[0] if isinstance(image, tuple) else image)).grid


def _named(path: Path, name: str) -> Path:
    """Return the file of one mask: case.nii.gz with liver is case_liver.nii.gz."""
    ends = [end for end in (".nii.gz", path.suffix) if path.name.endswith(end)]
    return path.with_name(f"{path.name.removesuffix(ends[0])}_{name}{ends[0]}")


def _without_voxels(volume: Volume) -> Volume:
    """The grid and the name of a volume; its image has the shape, and no memory."""
    shape = 1, *volume.image.shape[1:]
    return replace(volume, image=torch.zeros(1, 1, 1, 1).expand(shape), label=None)


def _said(
    name: str,
    own: tuple[float, float, float] | None,
    run: tuple[float, float, float] | None,
) -> str | None:
    if run is None:
        return None
    asked = " x ".join(f"{side:g}" for side in run)
    if own is None:
        return (
            f"{name} does not say how large its voxels are; they are taken for those of the run, "
            f"{asked} mm"
        )
    if all(abs(a / b - 1) < SAME for a, b in zip(own, run, strict=True)):
        return None
    had = " x ".join(f"{side:.4g}" for side in own)
    return f"resampled from {had} mm to the run's {asked} mm, and the mask back"
