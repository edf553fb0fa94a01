"""Padding of volumes that may be a crop, separate at both ends of each axis.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import torch.nn.functional as F
from torch import Tensor

from lean3d.errors import ShapeError
from lean3d.shape import Triple, sizes

__all__ = ["Pads", "by_conv3d", "only", "pad_beyond", "pad_or_crop"]

Pads = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def pad_or_crop(x_BCDHW: Tensor, pads: Pads, mode: str = "zeros") -> Tensor:
    """Pad each spatial axis by (before, after) voxels; negative amounts crop."""
    if any(amount > 0 for pair in pads for amount in pair):
        grow = [max(amount, 0) for pair in reversed(pads) for amount in pair]
        x_BCDHW = F.pad(x_BCDHW, grow, mode="constant" if mode == "zeros" else mode)
    for axis, (before, after) in enumerate(pads, start=2):
        if before < 0 or after < 0:
            first, last = max(-before, 0), max(-after, 0)
            if sizes(x_BCDHW)[axis] <= first + last:
                raise ShapeError(
                    f"the kernel needs {first + last + 1} voxels along axis {axis}, got "
                    f"{tuple(sizes(x_BCDHW))}; pad the volume, or convert with keep_depth= where "
                    "it is thin"
                )
            x_BCDHW = x_BCDHW.narrow(axis, first, x_BCDHW.shape[axis] - first - last)
    return x_BCDHW


def by_conv3d(pads: Pads, mode: str) -> tuple[Triple, Pads]:
    """Return the padding done inside conv3d, which takes no memory, and the rest before it."""
    even = [before if before == after > 0 and mode == "zeros" else 0 for before, after in pads]
    depth, height, width = even
    return (depth, height, width), only(pads, tuple(axis for axis in range(3) if not even[axis]))


def only(pads: Pads, axes: tuple[int, ...]) -> Pads:
    """Return the padding of some axes, and none of the others."""
    depth, height, width = (pair if axis in axes else (0, 0) for axis, pair in enumerate(pads))
    return depth, height, width


def pad_beyond(x_BCDHW: Tensor, needed: Pads, given: Pads, mode: str) -> Tensor:
    """Pad by `mode` up to the amounts that were given, and by zeros beyond."""
    if mode == "zeros":
        return pad_or_crop(x_BCDHW, needed)
    x_BCDHW = pad_or_crop(x_BCDHW, given, mode)
    rest = [(n[0] - g[0], n[1] - g[1]) for n, g in zip(needed, given, strict=True)]
    return pad_or_crop(x_BCDHW, (rest[0], rest[1], rest[2]))
