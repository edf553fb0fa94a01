"""Masks that are independent of each other: a voxel is in any number of them.

A label holds them as the bits of one number, the first mask as 1, the second as 2, the third as 4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lean3d.errors import DataError

__all__ = ["MOST_MASKS", "Masks"]

# bits of a byte, which is how labels are kept
MOST_MASKS = 8


@dataclass(frozen=True)
class Masks:
    """Named masks.

    Args:
        names: One to eight, all different.

    Raises:
        DataError: they are none, more, or two are the same.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= MOST_MASKS or len(set(self.names)) != len(self.names):
            shown = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
            raise DataError(
                f"one run learns 1 to {MOST_MASKS} masks of different names, got "
                f"{len(self.names)} ({shown or 'none'}); choose some with --masks"
            )

    @property
    def combinations(self) -> tuple[str, ...]:
        """A name for every number of a label: "background", "a", "b", "a+b", ..."""
        numbers = range(1, 2 ** len(self.names))
        return ("background", *("+".join(self.inside(number)) for number in numbers))

    def inside(self, number: int) -> tuple[str, ...]:
        """Return the masks that a voxel of this number is in."""
        return tuple(name for bit, name in enumerate(self.names) if number >> bit & 1)

    def targets(self, label: Tensor) -> Tensor:
        """Return whether each voxel is in each mask.

        Shape: (B, ...) numbers -> (B, R, ...) bool, R masks.
        """
        bits = torch.arange(len(self.names), device=label.device)
        shape = (1, len(bits)) + (1,) * (label.ndim - 1)
        return (label.long().unsqueeze(1) >> bits.view(shape) & 1).bool()

    def mask(self, probabilities: Tensor) -> Tensor:
        """Return the number of each voxel from its probability in each mask.

        Shape: (R, ...) -> (...) int64.
        """
        total = torch.zeros(probabilities.shape[1:], dtype=torch.int64, device=probabilities.device)
        for bit, share in enumerate(probabilities):
            total += (share > 0.5).long() << bit
        return total
