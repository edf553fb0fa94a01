"""Small labelled blocks of a large volume: few annotations, as in practice."""

from itertools import product

import numpy as np

from lean3d.data.volume import Volume
from lean3d.errors import DataError
from lean3d.shape import Triple

__all__ = ["cut_blocks"]


def cut_blocks(
    volume: Volume, size: Triple, num: int, seed: int = 0, *, min_foreground: float = 0.3
) -> list[Volume]:
    """Choose `num` blocks that do not overlap, each with enough foreground.

    Args:
        size: (depth, height, width) of a block, in voxels.
        min_foreground: Minimum share of a block that is not background.

    Raises:
        DataError: the volume has fewer than `num` such blocks.
    """
    if volume.label is None:
        raise DataError(f"cut_blocks needs labels, {volume.name} has none")
    shape = volume.label.shape
    grids = [range(0, length - side + 1, side) for length, side in zip(shape, size, strict=True)]
    blocks = [_block(volume, corner, size) for corner in product(*grids)]
    full = [block for block in blocks if _share(block) >= min_foreground]
    if not 0 < num <= len(full):
        raise DataError(
            f"{volume.name} has {len(full)} blocks of {size} voxels with {min_foreground:.0%} "
            f"foreground, {num} were asked for; ask for fewer or smaller ones"
        )
    chosen = np.random.default_rng(seed).permutation(len(full))[:num]
    return [full[index] for index in sorted(chosen.tolist())]


def _block(volume: Volume, corner: tuple[int, ...], size: Triple) -> Volume:
    for axis, (start, side) in enumerate(zip(corner, size, strict=True)):
        volume = volume.crop(axis, start, start + side)
    return volume


def _share(block: Volume) -> float:
    assert block.label is not None
    return float((block.label > 0).float().mean())
