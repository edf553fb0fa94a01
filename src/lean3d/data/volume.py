"""One scan as tensors, with the affine of its position in the body.

Axes: C channels, D depth (towards superior), H height (towards anterior), W width (towards right).
A NIfTI array in RAS+ order is (right, anterior, superior); ours is that array transposed, so D
counts axial slices, H coronal ones and W sagittal ones.
"""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from lean3d.data.grid import sides_of
from lean3d.errors import ShapeError

__all__ = ["Volume"]


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan, its labels if known, and its position in space.

    Args:
        image: (C, D, H, W) float32.
        label: (D, H, W) int64 class of every voxel, or None.
        affine: 4 x 4, maps a (D, H, W) voxel index to RAS+ millimetres. An oblique scan keeps its
            angle: the axes point to the nearest of superior, anterior, right.
        name: Name in reports and output files.
        modality: Such as "CT" or "MR", if the file says it.
        placed: Whether the file says how large its voxels are; if not, they are 1 mm a side.
    """

    image: Tensor
    label: Tensor | None
    affine: np.ndarray
    name: str
    modality: str | None = None
    placed: bool = True

    def __post_init__(self) -> None:
        if self.image.ndim != 4:
            raise ShapeError(
                f"Volume {self.name} takes an image (C, D, H, W), got {tuple(self.image.shape)}"
            )
        if self.label is not None and self.label.shape != self.image.shape[1:]:
            raise ShapeError(
                f"Volume {self.name} takes a label with the image's "
                f"(D, H, W) = {tuple(self.image.shape[1:])}, got {tuple(self.label.shape)}"
            )

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres per voxel along D, H, W."""
        return sides_of(self.affine)

    def crop(self, axis: int, start: int, stop: int) -> "Volume":
        """Keep voxels `start` to `stop` of a spatial axis (0 D, 1 H, 2 W); the affine is adjusted.

        The tensors are views of this volume's.

        Raises:
            ShapeError: the range is empty or reaches outside the volume.
        """
        if axis not in (0, 1, 2):
            raise ShapeError(f"Volume.crop takes axis 0 (D), 1 (H) or 2 (W), got {axis}")
        size = self.image.shape[1 + axis]
        if not 0 <= start < stop <= size:
            raise ShapeError(
                f"Volume.crop needs 0 <= start < stop <= {size} on axis {axis} of {self.name}, "
                f"got {start} to {stop}"
            )
        affine = self.affine.copy()
        affine[:3, 3] += start * affine[:3, axis]
        label = None if self.label is None else self.label.narrow(axis, start, stop - start)
        image = self.image.narrow(1 + axis, start, stop - start)
        return replace(self, image=image, label=label, affine=affine)
