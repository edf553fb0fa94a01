"""Random crops of labelled volumes, and the sampler that repeats them in a resumed run.

Axes: C channels, D depth, H height, W width; d, h, w those of the crop.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lean3d.data.samples import Samples
from lean3d.data.volume import Volume
from lean3d.errors import DataError
from lean3d.shape import Triple

__all__ = ["EpochSampler", "PatchDataset", "SliceDataset", "WholeVolumes", "draw_start"]

# a crop short of foreground is drawn again, finally around foreground; then the best is taken
FREE_DRAWS, AIMED_DRAWS = 5, 5
# voxels stored per volume as possible centres: of the foreground, and of each class
TARGETS = 10_000


class EpochSampler(Sampler[int]):
    """Give every epoch its own indices: epoch * length + 0 .. length - 1, shuffled.

    The order depends on (seed, epoch) alone. Lightning calls `set_epoch` by itself; so a run
    that was killed and resumed in epoch 7 gets the samples of an unbroken run in epoch 7.

    Args:
        length: Samples per epoch, `len` of the dataset.
        rank, size: Which of how many equal shares this one is. Shares take every `size`-th index,
            so that their batches are, together, those of one process with `size` times the batch;
            where they do not divide the epoch, the first indices of it fill the last ones.
    """

    def __init__(
        self, length: int, seed: int = 0, shuffle: bool = True, *, rank: int = 0, size: int = 1
    ):
        self.length, self.seed, self.shuffle = length, seed, shuffle
        self.rank, self.size = rank, size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.size)

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        share = np.resize(order, len(self) * self.size)[self.rank :: self.size]
        return iter((self.epoch * self.length + share).tolist())


class _Crops(Samples):
    """Crops from labelled volumes, drawn again while they have too little foreground.

    With `oversample`, this share of them lies around a voxel of a class: the class is drawn first,
    each with the same probability, then a volume that has it.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        per_epoch: int,
        seed: int,
        min_foreground: float,
        oversample: float = 0.0,
    ):
        super().__init__(per_epoch, seed)
        _check_volumes(volumes, type(self).__name__)
        if not 0 <= oversample <= 1:
            raise DataError(f"{type(self).__name__}: oversample is 0 to 1, got {oversample}")
        self.volumes, self.min_foreground = list(volumes), min_foreground
        self.targets = [_targets(volume) if min_foreground > 0 else None for volume in volumes]
        self.oversample = oversample
        # class -> the volumes that have it, each with some of its voxels
        self.classes: dict[int, list[tuple[int, np.ndarray]]] = {}
        for which, volume in enumerate(self.volumes if oversample else ()):
            for value, targets in _class_targets(volume).items():
                self.classes.setdefault(value, []).append((which, targets))

    def _richest(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        if self.classes and random.random() < self.oversample:
            return self._of_a_class(random)
        best, most = self._any(random, aim=False)
        for draw in range(1, FREE_DRAWS + AIMED_DRAWS):
            if most >= self.min_foreground:
                break
            crop, share = self._any(random, aim=draw >= FREE_DRAWS)
            if share > most:
                best, most = crop, share
        return best

    def _of_a_class(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return a crop with a voxel of a class that is drawn among all of them."""
        values = sorted(self.classes)
        known = self.classes[values[int(random.integers(len(values)))]]
        which, targets = known[int(random.integers(len(known)))]
        target = targets[int(random.integers(len(targets)))].tolist()
        return self._draw(self.volumes[which], target, random)

    def _any(self, random: np.random.Generator, aim: bool) -> tuple[tuple[Tensor, Tensor], float]:
        """Return a crop of any volume, around foreground if asked, and its share of foreground."""
        which = int(random.integers(len(self.volumes)))
        targets, target = self.targets[which], None
        if targets is None:
            return self._draw(self.volumes[which], None, random), 0.0
        if aim and len(targets):
            target = targets[int(random.integers(len(targets)))].tolist()
        crop = self._draw(self.volumes[which], target, random)
        return crop, (crop[1] > 0).float().mean().item()

    def _draw(
        self, volume: Volume, target: list[int] | None, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return a crop that contains the voxel `target`, or a crop at any place."""
        raise NotImplementedError


class PatchDataset(_Crops):
    """Random (d, h, w) crops of labelled volumes; a volume smaller than that is padded at its edge.

    Args:
        per_epoch: Crops per epoch. Crop i is the same whenever it is asked for.
        flips: Spatial axes (0 D, 1 H, 2 W) along which every second crop is mirrored.
        min_foreground: Minimum share of a crop that is not class 0; else the best of ten is taken.
        middle: Take crops around the middle of a volume, moved by at most this many voxels along
            every axis; None takes them anywhere.
        turns: Rotate crops by right angles, about each axis in turn; sides must be equal.
        oversample: Share of the crops around a voxel of a class, each class as often as any other.

    Shape: (C, d, h, w) float32 and (d, h, w) int64.

    Raises:
        DataError: `turns` with sides that differ.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        patch: Triple,
        per_epoch: int,
        seed: int = 0,
        flips: tuple[int, ...] = (),
        min_foreground: float = 0.0,
        middle: int | None = None,
        turns: bool = False,
        oversample: float = 0.0,
    ):
        super().__init__(volumes, per_epoch, seed, min_foreground, oversample)
        if len(patch) != 3 or min(patch) < 1 or not set(flips) <= {0, 1, 2}:
            raise DataError(
                "PatchDataset takes a patch (d, h, w) of at least 1 voxel and flips among axes "
                f"0, 1, 2, got {patch} and {flips}"
            )
        if oversample and middle is not None:
            raise DataError("PatchDataset takes crops around the middle, or oversamples classes")
        if turns and len(set(patch)) != 1:
            raise DataError(f"PatchDataset rotates patches of equal sides, got {patch}")
        self.patch, self.flips, self.middle, self.turns = patch, flips, middle, turns

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = self.random(index)
        image, label = self._richest(random)
        mirrored = [axis for axis in self.flips if random.random() < 0.5]
        image, label = image.flip([1 + axis for axis in mirrored]), label.flip(mirrored)
        for first, second in ((0, 1), (1, 2), (0, 2)) if self.turns else ():
            times = int(random.integers(4))
            image = image.rot90(times, (1 + first, 1 + second))
            label = label.rot90(times, (first, second))
        return image.contiguous(), label.contiguous()

    def _draw(
        self, volume: Volume, target: list[int] | None, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        if self.middle is None:
            return _crop(volume.image, volume.label, self.patch, target, random)
        assert volume.label is not None
        image, label = volume.image, volume.label
        for axis, length in enumerate(self.patch):
            room = label.shape[axis] - length
            start = room // 2 + int(random.integers(-self.middle, self.middle, endpoint=True))
            start = min(max(start, 0), room) if room > 0 else start
            image = _window(image, 1 + axis, start, length)
            label = _window(label, axis, start, length)
        return image.clone(), label.to(torch.int64, copy=True)


class SliceDataset(_Crops):
    """Random 2D crops of the slices of labelled volumes, across any of the three axes.

    Args:
        axes: Which axes to cut across: 0 axial, 1 coronal, 2 sagittal slices.
        size: (h, w) of the crop; the remaining axes of (D, H, W) keep their order.
        per_epoch: Slices per epoch. Slice i is the same whenever it is asked for.
        min_foreground: Minimum share of a crop that is not class 0; else the best of ten is taken.
        oversample: Share of the crops around a voxel of a class, each class as often as any other.

    Shape: (C, h, w) float32 and (h, w) int64.

    Raises:
        DataError: an axis is not 0, 1 or 2, or the size is below a pixel.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        axes: tuple[int, ...] = (0, 1, 2),
        size: tuple[int, int] = (96, 96),
        per_epoch: int = 1000,
        seed: int = 0,
        min_foreground: float = 0.01,
        oversample: float = 0.0,
    ):
        super().__init__(volumes, per_epoch, seed, min_foreground, oversample)
        if not axes or not set(axes) <= {0, 1, 2} or len(size) != 2 or min(size) < 1:
            raise DataError(
                "SliceDataset takes axes among 0, 1, 2 and a size (h, w) of at least 1 pixel, "
                f"got {axes} and {size}"
            )
        self.axes, self.size = axes, size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._richest(self.random(index))

    def _draw(
        self, volume: Volume, target: list[int] | None, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        assert volume.label is not None
        axis = self.axes[int(random.integers(len(self.axes)))]
        place = int(random.integers(volume.label.shape[axis])) if target is None else target[axis]
        within = None if target is None else [at for i, at in enumerate(target) if i != axis]
        image, label = volume.image.select(1 + axis, place), volume.label.select(axis, place)
        return _crop(image, label, self.size, within, random)


class WholeVolumes(Dataset[tuple[Tensor, Tensor]]):
    """Labelled volumes as they are, each of its own size: one a batch.

    Shape: (C, D, H, W) float32 and (D, H, W) int64.
    """

    def __init__(self, volumes: Sequence[Volume]):
        _check_volumes(volumes, type(self).__name__)
        self.volumes = list(volumes)

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        volume = self.volumes[index]
        assert volume.label is not None
        return volume.image, volume.label.long()


def _targets(volume: Volume) -> np.ndarray:
    """Foreground voxels, evenly spaced in the list of all of them, as rows of (D, H, W)."""
    assert volume.label is not None
    inside = volume.label.flatten().nonzero().flatten().numpy()
    some = inside[:: max(1, len(inside) // TARGETS)]
    return np.column_stack(np.unravel_index(some, volume.label.shape))


def _class_targets(volume: Volume) -> dict[int, np.ndarray]:
    """Voxels of every foreground class, as `_targets` has those of all of them."""
    assert volume.label is not None
    label = volume.label.flatten().numpy()
    inside = np.flatnonzero(label)
    # by class, in the order of the voxels
    order = inside[np.argsort(label[inside], kind="stable")]
    values, starts = np.unique(label[order], return_index=True)
    parts = np.split(order, starts[1:]) if len(order) else []
    shape = volume.label.shape
    return {
        int(value): np.column_stack(
            np.unravel_index(part[:: max(1, len(part) // TARGETS)], shape)
        ).astype(np.int32)
        for value, part in zip(values, parts, strict=True)
    }


def _check_volumes(volumes: Sequence[Volume], owner: str) -> None:
    if not volumes:
        raise DataError(f"{owner} got no volumes; give at least one")
    for volume in volumes:
        if volume.label is None:
            raise DataError(f"{owner} needs labels, volume {volume.name} has none")
        if volume.image.shape[0] != volumes[0].image.shape[0]:
            raise DataError(
                f"{owner} needs volumes with the same channels, {volume.name} has "
                f"{volume.image.shape[0]} where {volumes[0].name} has {volumes[0].image.shape[0]}"
            )


def _crop(
    image: Tensor,
    label: Tensor | None,
    size: Sequence[int],
    target: Sequence[int] | None,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Crop the same window from an image (C, ...) and its label (...), as new tensors."""
    assert label is not None
    for axis, length in enumerate(size):
        at = None if target is None else target[axis]
        start = draw_start(label.shape[axis], length, at, random)
        image = _window(image, 1 + axis, start, length)
        label = _window(label, axis, start, length)
    # a view would carry the whole volume to the loader's process
    whole = torch.contiguous_format
    return image.clone(memory_format=whole), label.to(torch.int64, copy=True, memory_format=whole)


def draw_start(size: int, length: int, at: int | None, random: np.random.Generator) -> int:
    """Draw the start of a window of `length`: any, or any that contains position `at`."""
    room = size - length
    if room <= 0:
        return room // 2
    low, high = (0, room) if at is None else (max(0, at - length + 1), min(room, at))
    return int(random.integers(low, high, endpoint=True))


def _window(x: Tensor, axis: int, start: int, length: int) -> Tensor:
    """Return positions start .. start + length of an axis, clamped to its ends."""
    if start >= 0 and start + length <= x.shape[axis]:
        return x.narrow(axis, start, length)
    index = torch.arange(start, start + length).clamp_(0, x.shape[axis] - 1)
    return x.index_select(axis, index)
