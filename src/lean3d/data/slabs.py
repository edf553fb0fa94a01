"""Slabs of one labelled volume, some to train on and some to hold out."""

import math

from lean3d.data.volume import Volume
from lean3d.errors import DataError

__all__ = ["cut_slabs", "split_slabs"]

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
    extent, axis, _, last = _extent(volume)
    tested, gap = max(1, round(held_out * extent)), math.ceil(GAP * extent)
    if not 0 < held_out < 1 or tested + gap >= extent:
        raise DataError(
            f"{volume.name} is the only case, and its {extent} labelled slices cannot be cut for "
            f"held_out={held_out}; add a case, or ask for less"
        )
    edge = last - tested
    size = volume.image.shape[1 + axis]
    return volume.crop(axis, 0, edge - gap), volume.crop(axis, edge, size)


def cut_slabs(volume: Volume, num: int) -> list[Volume]:
    """Cut a volume as `split_slabs` does, into slabs of equally many labelled slices.

    The gaps together are a twentieth of the labelled slices, of one slice or more each.

    Raises:
        DataError: there is no label, or too few slices to cut.
    """
    extent, axis, first, _ = _extent(volume)
    gap = max(1, math.ceil(GAP * extent / max(num - 1, 1)))
    side = (extent - gap * (num - 1)) / num
    if num < 2 or side < 1:
        raise DataError(
            f"{volume.name} is the only case, and its {extent} labelled slices cannot be cut into "
            f"{num} slabs; add a case, or ask for two slabs or a few"
        )
    starts = [first + round(place * (side + gap)) for place in range(num)]
    stops = [start - gap for start in starts[1:]]
    ends = zip([0, *starts[1:]], [*stops, volume.image.shape[1 + axis]], strict=True)
    return [volume.crop(axis, start, stop) for start, stop in ends]


def _extent(volume: Volume) -> tuple[int, int, int, int]:
    """Return the labelled slices, the axis that has most, the first one and the one after them."""
    if volume.label is None:
        raise DataError(f"{volume.name} cannot be cut into slabs: it has no labels")
    extents = []
    for axis, others in ((0, (1, 2)), (1, (0, 2))):
        rows = volume.label.amax(dim=others).nonzero().flatten().tolist()
        first, last = (rows[0], rows[-1] + 1) if rows else (0, 0)
        extents.append((last - first, axis, first, last))
    return max(extents, key=lambda found: found[0])
