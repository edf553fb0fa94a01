"""Pixel shuffles: channels hold r x r positions of a plane, so the third axis is repeated.

Shuffling r * r channels into a cube would need r * r * r; on one plane the 2D weights stay
valid. Unshuffling averages along the third axis, so that it undoes shuffling.

Axes: B batch, C channels, D depth, H height, W width.
"""

import torch.nn.functional as F
from torch import Tensor

from lean3d.errors import ShapeError
from lean3d.ops.leaf import Leaf
from lean3d.shape import check_axes, sizes

__all__ = ["PlanarPixelShuffle", "PlanarPixelUnshuffle", "PlanarSpaceToDepth"]


class PlanarPixelShuffle(Leaf):
    """nn.PixelShuffle on the plane without `axis`; voxels are repeated along `axis`.

    Args:
        repeat: How often; the upscale factor, or 1 to keep the axis as it is.

    Shape: (B, C * r * r, D, H, W) -> (B, C, D * r, H * r, W * r) for axis 0 and repeat r.
    """

    def __init__(self, upscale_factor: int, repeat: int, axis: int = 0):
        super().__init__()
        self.upscale_factor, self.repeat, self.axis = upscale_factor, repeat, axis

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        check_axes(x_BCDHW, "B C D H W", self)
        axis = 2 + self.axis
        y = F.pixel_shuffle(x_BCDHW.movedim(axis, 1), self.upscale_factor).movedim(1, axis)
        return y if self.repeat == 1 else y.repeat_interleave(self.repeat, dim=axis)

    def extra_repr(self) -> str:
        return f"{self.upscale_factor}, repeat={self.repeat}, axis={self.axis}"


class PlanarPixelUnshuffle(Leaf):
    """nn.PixelUnshuffle on the plane without `axis`; voxels are averaged along `axis`.

    Args:
        pool: How many at a time; the downscale factor, or 1 to keep the axis as it is.

    Shape: (B, C, D * r, H * r, W * r) -> (B, C * r * r, D, H, W) for axis 0 and pool r.
    """

    def __init__(self, downscale_factor: int, pool: int, axis: int = 0):
        super().__init__()
        self.downscale_factor, self.pool, self.axis = downscale_factor, pool, axis

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        check_axes(x_BCDHW, "B C D H W", self)
        axis = 2 + self.axis
        if sizes(x_BCDHW)[axis] % self.pool:
            raise ShapeError(
                f"PlanarPixelUnshuffle averages {self.pool} voxels at a time along axis {axis}, "
                f"got {tuple(sizes(x_BCDHW))}; pad it to a multiple of {self.pool}"
            )
        x = x_BCDHW.unflatten(axis, (-1, self.pool)).mean(axis + 1)
        return F.pixel_unshuffle(x.movedim(axis, 1), self.downscale_factor).movedim(1, axis)

    def extra_repr(self) -> str:
        return f"{self.downscale_factor}, pool={self.pool}, axis={self.axis}"


class PlanarSpaceToDepth(PlanarPixelUnshuffle):
    """PlanarPixelUnshuffle with the positions before the channels they come from.

    Shape: (B, C, D * r, H * r, W * r) -> (B, r * r * C, D, H, W) for axis 0 and pool r.
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        y = super().forward(x_BCDHW)
        return y.unflatten(1, (x_BCDHW.shape[1], -1)).transpose(1, 2).flatten(1, 2)
