"""Whole volumes with a class each, all of one size.

Axes: C channels, D depth, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lean3d.data.samples import Samples
from lean3d.errors import DataError
from lean3d.shape import Triple

__all__ = ["VolumeClasses", "fit_size"]


class VolumeClasses(Samples):
    """Volumes and their classes; sample i is volume i modulo their number, changed by its index.

    Args:
        volumes: (C, D, H, W) each, of the size or larger by a margin of `shift` on both sides.
        size: (D, H, W) of a sample.
        per_epoch: Samples per epoch.
        shift: Move the sample by up to this many voxels along every axis.
        flips: Spatial axes (0 D, 1 H, 2 W) along which every second sample is mirrored.
        turns: Rotate samples by any number of right angles in the plane of H and W, or of all axes
            if the size is a cube.

    Shape: (C, D, H, W) float32 and () int64.
    """

    def __init__(
        self,
        volumes: Sequence[Tensor],
        classes: Sequence[int],
        size: Triple,
        per_epoch: int,
        seed: int = 0,
        *,
        shift: int = 0,
        flips: tuple[int, ...] = (),
        turns: bool = False,
    ):
        super().__init__(per_epoch, seed)
        if not volumes or len(volumes) != len(classes) or not set(flips) <= {0, 1, 2}:
            raise DataError(
                "VolumeClasses takes volumes, a class for each, and flips among axes 0, 1, 2, got "
                f"{len(volumes)} volumes, {len(classes)} classes and flips {flips}"
            )
        if turns and size[1] != size[2]:
            raise DataError(f"volumes of {size} change their size when turned; leave turns out")
        self.volumes, self.classes = list(volumes), list(classes)
        self.size, self.shift, self.flips, self.turns = size, shift, flips, turns

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = self.random(index)
        which = index % len(self.volumes)
        x = self.volumes[which]
        for axis, side in enumerate(self.size, 1):
            room = x.shape[axis] - side
            start = room // 2
            if self.shift:
                start += int(random.integers(-self.shift, self.shift, endpoint=True))
            x = x.narrow(axis, min(max(start, 0), room), side)
        x = x.flip([1 + axis for axis in self.flips if random.random() < 0.5])
        if self.turns:
            planes = [(2, 3), (1, 2), (1, 3)] if len(set(self.size)) == 1 else [(2, 3)]
            for plane in planes:
                x = x.rot90(int(random.integers(4)), plane)
        label = torch.tensor(self.classes[which])
        return x.clone(memory_format=torch.contiguous_format), label


def fit_size(image_CDHW: Tensor, size: Triple, *, resize: bool) -> Tensor:
    """Bring a volume to a size: by linear interpolation, or cut and padded around its middle."""
    if tuple(image_CDHW.shape[1:]) == tuple(size):
        return image_CDHW
    if resize:
        scaled = torch.nn.functional.interpolate(image_CDHW[None], size, mode="trilinear")
        return scaled[0]
    for axis, side in enumerate(size, 1):
        room = image_CDHW.shape[axis] - side
        index = torch.arange(room // 2, room // 2 + side).clamp_(0, image_CDHW.shape[axis] - 1)
        image_CDHW = image_CDHW.index_select(axis, index)
    return image_CDHW
