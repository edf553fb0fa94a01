"""Tiles in which a kernel computes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

__all__ = ["Blocks", "up"]


@dataclass(frozen=True)
class Blocks:
    """A tile of a matrix product, and how it runs.

    Args:
        rows, columns: Of the result.
        depth: Products summed at a time.
        warps: Of 32 threads.
        stages: Loads in flight.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int

    @cached_property
    def options(self) -> dict[str, Any]:
        """They as a kernel's arguments."""
        own = dict(BM=self.rows, BN=self.columns, BK=self.depth)
        return own | dict(num_warps=self.warps, num_stages=self.stages)


def up(number: int, step: int) -> int:
    """Return how many steps cover a number."""
    return -(-number // step)
