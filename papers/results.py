"""Results that are kept as they come: one entry a network and seed, in one JSON file."""

import json
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lean3d.files import write_text
from lean3d.train.provenance import provenance

__all__ = ["Results", "spread", "where"]

# names the commit on a machine that has the source alone
COMMIT = "LEAN3D_COMMIT"


class Results:
    """A file of entries by name and seed, written whole after each of them.

    A second call finds what the first has measured. Entries of other settings are not kept beside
    new ones: they are measured again. Processes side by side share a folder of pieces, a file an
    entry, and `collect` writes all there are into the one file.

    Args:
        settings: What all entries have in common.
        pieces: The folder; None to write the one file at once.
        tf32: New entries say that a GPU rounded their products to 10 bits.
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        pieces: Path | None = None,
        *,
        tf32: bool = False,
    ):
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self.told = {"tf32": True} if tf32 else {}
        self.pieces = pieces
        self.entries: list[dict[str, Any]] = self._read(path)
        for piece in sorted(pieces.glob("*.json")) if pieces is not None else ():
            self._add(self._read(piece))

    def get(self, name: str, seed: int, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The entry, measured and written if it is not there yet."""
        for entry in self.entries:
            if (entry["name"], entry["seed"]) == (name, seed):
                return entry
        entry = {"name": name, "seed": seed, **measure(), "where": where() | self.told}
        self.entries.append(entry)
        if self.pieces is None:
            self.collect()
        else:
            word = "".join(c if c.isalnum() else "_" for c in name)
            self._write(self.pieces / f"{word}_{seed}.json", [entry])
        return entry

    def collect(self) -> None:
        """Write the one file."""
        self._write(self.path, self.entries)

    def values(self, name: str, key: str) -> list[Any]:
        """One number, or one curve, of every seed."""
        return [entry[key] for entry in self.entries if entry["name"] == name]

    def _read(self, path: Path) -> list[dict[str, Any]]:
        found = json.loads(path.read_text()) if path.exists() else {}
        return found["entries"] if found.get("settings") == self.settings else []

    def _add(self, entries: list[dict[str, Any]]) -> None:
        known = {(entry["name"], entry["seed"]) for entry in self.entries}
        self.entries += [e for e in entries if (e["name"], e["seed"]) not in known]

    def _write(self, path: Path, entries: list[dict[str, Any]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {"settings": self.settings, "entries": entries}
        write_text(path, json.dumps(found, indent=1) + "\n")


def where() -> dict[str, Any]:
    """The provenance of an entry."""
    found = provenance()
    return found | {"commit": found["commit"] or os.environ.get(COMMIT)}


def spread(values: Sequence[float], digits: int = 1, sign: str = "", scale: float = 100) -> str:
    """Mean and standard deviation over seeds, in percent; says how many seeds if not three."""
    if not values:
        return "not run yet"
    mean = f"{scale * statistics.mean(values):{sign}.{digits}f}"
    if len(values) == 1:
        return f"{mean} (1 of 3 seeds)"
    wide = f"{mean} ± {scale * statistics.stdev(values):.{digits}f}"
    return wide if len(values) == 3 else f"{wide} ({len(values)} of 3 seeds)"
