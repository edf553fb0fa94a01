"""Two slabs of one labelled volume, one to train on and one to hold out."""

import math

from lean3d.data.volume import Volume
from lean3d.errors import DataError

__all__ = ["split_slabs"]

# share of the labelled extent between the slabs, so that no structure ends in both
GAP = 0.05


def split_slabs(volume: Volume, held_out: float = 0.2) -> tuple[Volume, Volume]:
    """Cut a volume across D or H, the one with more labelled slices, with a gap between.

    Never across W, in which left and right of a body mirror each other.

    Args:
        held_out: Share of the labelled slices in the second slab.

    Raises:
        DataError: there is no label, or too few slices to cut.
    """
    if volume.label is None:
        raise DataError(f"split_slabs needs labels, {volume.name} has none")
    extents = []
    for axis, others in ((0, (1, 2)), (1, (0, 2))):
        rows = volume.label.amax(dim=others).nonzero().flatten().tolist()
        extents.append((rows[-1] + 1 - rows[0] if rows else 0, axis, rows))
    extent, axis, rows = max(extents, key=lambda found: found[0])
    tested, gap = max(1, round(held_out * extent)), math.ceil(GAP * extent)
    if not 0 < held_out < 1 or tested + gap >= extent:
        raise DataError(
            f"{volume.name} is the only case, and its {extent} labelled slices cannot be cut for "
            f"held_out={held_out}; add a case, or ask for less"
        )
    edge = rows[-1] + 1 - tested
    size = volume.label.shape[axis]
    return volume.crop(axis, 0, edge - gap), volume.crop(axis, edge, size)
