"""Crops of volumes that stay in their files: no more than a crop is in memory.

Axes: C channels, D depth, H height, W width; d, h, w those of the crop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lean3d.data.patches import draw_start
from lean3d.data.samples import Samples
from lean3d.errors import DataError
from lean3d.shape import Triple

__all__ = ["FileCrops", "Part", "Readable"]

Window = tuple[slice, slice, slice]


class Readable(Protocol):
    """A labelled volume in a file, of which windows are read."""

    def read(self, window: Window) -> tuple[Tensor, Tensor]:
        """Return (C, d, h, w) float32 and (d, h, w) int64."""


@dataclass(frozen=True)
class Part:
    """Sections of a volume that are cropped.

    Args:
        first: The first section.
        shape: (D, H, W) of the part.
    """

    volume: Readable
    first: int
    shape: Triple


class FileCrops(Samples):
    """Random crops, the same as those of `PatchDataset`, or `SliceDataset`, of volumes in memory.

    A volume smaller than a crop is padded at its edge.

    Args:
        patch: (d, h, w), or (h, w) for crops of single sections.
        per_epoch: Crops per epoch. Crop i is the same whenever it is asked for.

    Shape: (C, d, h, w) float32 and (d, h, w) int64, or without d.
    """

    def __init__(self, parts: Sequence[Part], patch: Sequence[int], per_epoch: int, seed: int = 0):
        super().__init__(per_epoch, seed)
        if not parts or len(patch) not in (2, 3) or min(patch) < 1:
            raise DataError(
                f"FileCrops takes volumes and a patch (d, h, w) or (h, w), got {len(parts)} "
                f"volumes and {tuple(patch)}"
            )
        self.parts, self.patch = list(parts), tuple(patch)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = self.random(index)
        part = self.parts[int(random.integers(len(self.parts)))]
        if flat := len(self.patch) == 2:
            # the axis that SliceDataset draws
            random.integers(1)
            places = [np.array([int(random.integers(part.shape[0]))])]
        else:
            places = []
        sides = part.shape[len(places) :]
        for size, length in zip(sides, self.patch, strict=True):
            start = draw_start(size, length, None, random)
            places.append(np.arange(start, start + length).clip(0, size - 1))
        places[0] = places[0] + part.first
        z, y, x = (slice(int(p[0]), int(p[-1]) + 1) for p in places)
        image, label = part.volume.read((z, y, x))
        for axis, place in enumerate(places):
            if len(place) != label.shape[axis]:
                inside = torch.from_numpy(place - place[0])
                image, label = (
                    image.index_select(1 + axis, inside),
                    label.index_select(axis, inside),
                )
        return (image[:, 0], label[0]) if flat else (image, label)
