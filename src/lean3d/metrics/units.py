"""Lengths and volumes in the unit that suits the size of a voxel: bodies, cells, synapses."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Unit", "unit_of"]


@dataclass(frozen=True)
class Unit:
    """A unit of length and one of volume.

    Args:
        length: Name of the unit of length.
        per_mm: Of them in a millimetre.
        volume: Name of the unit of volume.
        per_mm3: Of them in a cubic millimetre.
    """

    length: str
    per_mm: float
    volume: str
    per_mm3: float


MILLIMETRES = Unit("mm", 1.0, "mL", 1e-3)
MICROMETRES = Unit("µm", 1e3, "µm³", 1e9)
NANOMETRES = Unit("nm", 1e6, "nm³", 1e18)


def unit_of(spacing_mm: Sequence[float]) -> Unit:
    """Return millimetres and millilitres from a largest spacing of 0.05 mm, or smaller units."""
    largest = max(spacing_mm)
    if largest >= 0.05:
        return MILLIMETRES
    return MICROMETRES if largest >= 1e-4 else NANOMETRES
