"""How the vectors of a gallery of persons are scored: a search, or verified pairs.

Axes: E embedding, N videos, S skips.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lean3d.data import People
from lean3d.data.tracklets import num_frames, read_tracklet
from lean3d.recipes.evaluation.base import Evaluation, Row, Score, Scored
from lean3d.recipes.vectors import Vectors, weights_key
from lean3d.report import Section

__all__ = ["Protocol", "file_names"]


class Protocol(ABC):
    """How the vectors of a gallery are scored."""

    main: str
    group: str
    scores: Mapping[str, Score]

    def __init__(self, owner: Evaluation, people: People, times: Any):
        self.owner, self.people, self.times = owner, people, times
        self.vectors = Vectors(
            owner.model, owner.recipe, weights_key(owner.folder), owner.settings.device
        )

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the cases."""

    @abstractmethod
    def shown(self) -> list[set[str]]:
        """Return the persons of each case."""

    @abstractmethod
    def score(self, place: int, folder: Path) -> Scored:
        """Return the scores of a case; `folder` keeps vectors."""

    @abstractmethod
    def rank(self, scored: Scored) -> float: ...

    @abstractmethod
    def titles(self, known: dict[str, str]) -> dict[str, str]: ...

    @abstractmethod
    def row_titles(self) -> dict[str, str]: ...

    @abstractmethod
    def columns(self) -> dict[str, str]: ...

    @abstractmethod
    def summary(self, scored: Mapping[str, Scored], rows: list[Row]) -> list[Row]: ...

    @abstractmethod
    def sections(self, scored: Mapping[str, Scored]) -> list[Section]: ...

    def of_gallery(self, folder: Path, num: int | None, skips: Sequence[int]) -> Tensor:
        """Return the vectors of the gallery, (N, S, E)."""
        return self.vectors.of_all(self.people.gallery, self.times, folder, num=num, skips=skips)

    def middle(self, place: int) -> Tensor:
        """Return the middle frame of a video of the gallery, for a picture."""
        tracklet = self.people.gallery[place]
        return read_tracklet(tracklet, [num_frames(tracklet, self.times) // 2], self.times)[0]


def file_names(names: list[str]) -> list[str]:
    """Return names of files, each once; the end tells videos of one folder from each other."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        flat = name.replace("/", "__")[-120:]
        seen[flat] = seen.get(flat, 0) + 1
        found.append(flat + (f"~{seen[flat]}" if seen[flat] > 1 else ""))
    return found
