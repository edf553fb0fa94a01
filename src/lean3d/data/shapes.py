"""The proof-of-concept shapes: 2D circles and squares, 3D solids, in noise.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Appendix B.
Where the paper is not specific, this follows the authors' released generator: sizes are whole
numbers of voxels from 5 to 24 with equal probability, the height of a cone, pyramid or cylinder
independent of its width; shapes are 1 on 0 before the noise; 0.5 is the standard deviation of the
noise. Differs from that generator: cylinders are turned too, as in the paper, and each of the six
directions is equally likely.

Axes: D depth, H height, W width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lean3d.data.samples import Samples
from lean3d.errors import DataError

__all__ = ["SHAPES_2D", "SHAPES_3D", "Shapes2D", "Shapes3D"]

SHAPES_2D = ("background", "circle", "square")
SHAPES_3D = ("background", "sphere", "cube", "cylinder", "cone", "pyramid")

SIZE, SMALLEST = 48, 5
NOISE = 0.5


class _Shapes(Samples):
    names: Sequence[str]
    num_shapes: int
    ndim: int

    def __init__(self, num: int, seed: int = 0, *, size: int = SIZE):
        super().__init__(num, seed)
        if size % 2 or size < 2 * SMALLEST:
            raise DataError(
                f"{type(self).__name__} cuts its side in halves that hold shapes of {SMALLEST} or "
                f"more, so size is even and {2 * SMALLEST} or more, got {size}"
            )
        self.size, self.piece = size, size // 2

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = self.random(index % self.length if index >= 0 else index)
        label = np.zeros((self.size,) * self.ndim, dtype=np.int64)
        pieces = random.choice(2**self.ndim, self.num_shapes, replace=False)
        for piece in pieces:
            kind = int(random.integers(1, len(self.names)))
            shape = self.draw(self.names[kind], random)
            corner = np.array(np.unravel_index(piece, (2,) * self.ndim)) * self.piece
            start = corner + random.integers(0, self.piece - np.array(shape.shape), endpoint=True)
            place = tuple(slice(s, s + n) for s, n in zip(start, shape.shape, strict=True))
            label[place][shape] = kind
        image = (label > 0) + NOISE * random.standard_normal(label.shape)
        return torch.from_numpy(image[None]).float(), torch.from_numpy(label)

    def draw(self, name: str, random: np.random.Generator) -> np.ndarray:
        raise NotImplementedError


class Shapes2D(_Shapes):
    """`num` images of three circles or squares, one in each of three of the four quarters.

    Args:
        size: Pixels along a side; shapes have from 5 pixels to half of it.

    Shape: (1, size, size) float32 and (size, size) int64, classes as in SHAPES_2D.
    """

    names, num_shapes, ndim = SHAPES_2D, 3, 2

    def draw(self, name: str, random: np.random.Generator) -> np.ndarray:
        size = int(random.integers(SMALLEST, self.piece, endpoint=True))
        return flat(name, size)


class Shapes3D(_Shapes):
    """`num` volumes of four solids, one in each of four of the eight octants.

    Args:
        size: Voxels along a side; shapes have from 5 voxels to half of it.

    Shape: (1, size, size, size) float32 and (size, size, size) int64, classes as in SHAPES_3D.
    """

    names, num_shapes, ndim = SHAPES_3D, 4, 3

    def draw(self, name: str, random: np.random.Generator) -> np.ndarray:
        width, height = random.integers(SMALLEST, self.piece, size=2, endpoint=True).tolist()
        axis, backwards = int(random.integers(3)), bool(random.integers(2))
        shape = solid(name, width, width if name in ("sphere", "cube") else height)
        shape = np.moveaxis(shape, 0, axis)
        return np.flip(shape, axis) if backwards else shape


def _centres(size: int) -> np.ndarray:
    """Return voxel centres of a side of `size` voxels, from -1 to 1."""
    return (2 * np.arange(size) + 1) / size - 1


def flat(name: str, size: int) -> np.ndarray:
    """Return a circle or square that fills `size` by `size` pixels."""
    if name == "square":
        return np.ones((size, size), dtype=bool)
    y, x = np.ix_(_centres(size), _centres(size))
    return y**2 + x**2 <= 1


def solid(name: str, width: int, height: int) -> np.ndarray:
    """Return a solid `width` wide along its last two axes and `height` high along its first."""
    z, y, x = np.ix_(_centres(height), _centres(width), _centres(width))
    down = (z + 1) / 2
    inside = {
        "sphere": z**2 + y**2 + x**2 <= 1,
        "cube": np.maximum(np.maximum(abs(z), abs(y)), abs(x)) <= 1,
        "cylinder": y**2 + x**2 <= 1 + 0 * z,
        "cone": y**2 + x**2 <= down**2,
        "pyramid": np.maximum(abs(y), abs(x)) <= down,
    }
    return inside[name]
