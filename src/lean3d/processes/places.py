"""Which of how many processes this is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["ALONE", "Place", "place", "placed"]


@dataclass(frozen=True)
class Place:
    """A process among those that work on one run.

    Args:
        rank: Its number among all, from 0.
        size: Processes in all.
        local: Its number on its machine.
        here: Processes of its machine; of every machine as many.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    here: int = 1

    @property
    def nodes(self) -> int:
        """Machines."""
        return self.size // self.here

    @property
    def first(self) -> bool:
        """Whether this process writes and reports for all."""
        return self.rank == 0


ALONE = Place()
_here = ALONE


def place() -> Place:
    """Return the place of this process; that of a single one outside of `joined`."""
    return _here


@contextmanager
def placed(own: Place) -> Iterator[None]:
    """Inside, this process has that place."""
    global _here
    before, _here = _here, own
    try:
        yield
    finally:
        _here = before
