"""A gallery of known videos, one vector each, and the search for the nearest.

The search is exact: faiss finds the nearest where it is installed, torch otherwise, and their
distances are computed again from the differences, so that both give the same.

Axes: E embedding, K found, N videos, Q queries.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lean3d.errors import DataError, RunError, ShapeError
from lean3d.files import write_text, write_whole
from lean3d.optional import require

__all__ = ["Entry", "Gallery"]

VECTORS, RECORD = "vectors.npy", "gallery.json"
# queries of which the distances are held at a time
AT_ONCE = 64


@dataclass(frozen=True)
class Entry:
    """A known video.

    Args:
        name: Different from all others.
        person: Who is shown, if that is known.
        camera: Its number, from 0, if that is known.
        path: Of the file, or of the folder of its images.
    """

    name: str
    person: str | None = None
    camera: int | None = None
    path: str = ""


@dataclass(frozen=True)
class Gallery:
    """Vectors of known videos.

    Args:
        vectors: (N, E), float32.
        entries: What each of them shows.
        about: How they were made, for the record; plain values.
    """

    vectors: Tensor
    entries: tuple[Entry, ...]
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.entries):
            raise ShapeError(
                f"a gallery has vectors (N, E) of its {len(self.entries)} entries, got "
                f"{tuple(self.vectors.shape)}"
            )
        if not len(self.entries) or not bool(self.vectors.isfinite().all()):
            raise DataError("a gallery has one video or more, and vectors of finite numbers")
        names = [entry.name for entry in self.entries]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"a gallery has each name once, got {twice} twice")

    def search(
        self,
        queries_QE: Tensor,
        num: int = 10,
        backend: Literal["auto", "faiss", "torch"] = "auto",
    ) -> tuple[Tensor, Tensor]:
        """Return the distances and the places of the nearest entries, both (Q, K), nearest first.

        Args:
            num: K, or as many as there are.
            backend: auto is faiss where it is installed.

        Raises:
            ShapeError: the vectors have another size.
        """
        if queries_QE.ndim != 2 or queries_QE.shape[1] != self.vectors.shape[1]:
            raise ShapeError(
                f"a search expects vectors (Q, E) with E = {self.vectors.shape[1]}, got "
                f"{tuple(queries_QE.shape)}"
            )
        if num < 1:
            raise RunError(f"a search finds 1 video or more, got {num}")
        queries_QE = queries_QE.float().cpu()
        num = min(num, len(self.entries))
        # a few more than asked for: rounding may change the order of near equals
        most = min(num + 8, len(self.entries))
        places_QK = self._nearest(queries_QE, most, backend)
        found = []
        for query_E, places_K in zip(queries_QE, places_QK, strict=True):
            distance_K = (self.vectors[places_K] - query_E).norm(dim=1)
            # equal distances in the order of the gallery
            by_place = places_K.argsort()
            order = by_place[distance_K[by_place].argsort(stable=True)][:num]
            found.append((distance_K[order], places_K[order]))
        if not found:
            return torch.zeros(0, num), torch.zeros(0, num, dtype=torch.long)
        distances, places = zip(*found, strict=True)
        return torch.stack(distances), torch.stack(places)

    def _nearest(self, queries_QE: Tensor, num: int, backend: str) -> Tensor:
        faiss = _faiss(backend)
        if faiss is not None:
            index = faiss.IndexFlatL2(self.vectors.shape[1])
            index.add(self.vectors.numpy())
            return torch.from_numpy(index.search(queries_QE.contiguous().numpy(), num)[1])
        found = [
            torch.cdist(part, self.vectors).topk(num, largest=False).indices
            for part in queries_QE.split(AT_ONCE)
        ]
        return torch.cat(found) if found else torch.zeros(0, num, dtype=torch.long)

    def added(self, other: "Gallery") -> "Gallery":
        """Return both together.

        Raises:
            DataError: an entry of one has the name of one of the other.
        """
        vectors_NE = torch.cat([self.vectors, other.vectors])
        return Gallery(vectors_NE, self.entries + other.entries, self.about)

    def save(self, folder: str | Path) -> None:
        """Write vectors.npy and gallery.json, each atomically.

        Raises:
            DataError: the folder cannot be made or written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot make {folder}: {error.strerror}") from error
        with write_whole(folder / VECTORS) as temporary, temporary.open("wb") as file:
            np.save(file, self.vectors.numpy())
        entries = [asdict(entry) for entry in self.entries]
        record = {"about": self.about, "entries": entries}
        write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")

    @staticmethod
    def load(folder: str | Path) -> "Gallery":
        """Read what `save` wrote.

        Raises:
            DataError: the folder holds none, or a damaged one.
        """
        folder = Path(folder)
        if not (folder / RECORD).is_file():
            raise DataError(f"{folder} is no gallery, it has no {RECORD}; make one by lean3d index")
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            vectors_NE = torch.from_numpy(np.load(folder / VECTORS)).float()
            entries = tuple(Entry(**entry) for entry in record["entries"])
            return Gallery(vectors_NE, entries, dict(record["about"]))
        except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
            raise DataError(f"cannot read the gallery {folder}: {error}; make it again") from error


def _faiss(backend: str) -> Any:
    """Return the package, or None to search by torch."""
    if backend not in ("auto", "faiss", "torch"):
        raise RunError(f"a search is by auto, faiss or torch, got {backend!r}")
    if backend == "torch":
        return None
    if backend == "faiss":
        return require("faiss", extra="identity")
    try:
        import faiss
    except ImportError:
        return None
    return faiss
