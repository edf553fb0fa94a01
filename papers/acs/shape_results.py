"""Results that are kept as they come: one entry a network and seed, in one JSON file."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lean3d.files import write_text
from lean3d.train.provenance import provenance

__all__ = ["Results", "spread"]


class Results:
    """A file of entries by name and seed, written whole after each of them.

    A second call finds what the first has measured. Entries of other settings are not kept beside
    new ones: they are measured again.

    Args:
        settings: What all entries have in common.
    """

    def __init__(self, path: Path, settings: dict[str, Any]):
        self.path, self.settings = path, json.loads(json.dumps(settings))
        old = json.loads(path.read_text()) if path.exists() else {}
        self.entries: list[dict[str, Any]] = (
            old["entries"] if old.get("settings") == self.settings else []
        )

    def get(self, name: str, seed: int, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The entry, measured and written if it is not there yet."""
        for entry in self.entries:
            if (entry["name"], entry["seed"]) == (name, seed):
                return entry
        entry = {"name": name, "seed": seed, **measure(), "where": provenance()}
        self.entries.append(entry)
        found = {"settings": self.settings, "entries": self.entries}
        write_text(self.path, json.dumps(found, indent=1) + "\n")
        return entry

    def values(self, name: str, key: str) -> list[Any]:
        """One number, or one curve, of every seed."""
        return [entry[key] for entry in self.entries if entry["name"] == name]


def spread(values: Sequence[float], digits: int = 1, sign: str = "") -> str:
    """Mean and standard deviation over seeds, in percent; says how many seeds if not three."""
    if not values:
        return "not run yet"
    mean = f"{100 * statistics.mean(values):{sign}.{digits}f}"
    if len(values) == 1:
        return f"{mean} (1 of 3 seeds)"
    wide = f"{mean} ± {100 * statistics.stdev(values):.{digits}f}"
    return wide if len(values) == 3 else f"{wide} ({len(values)} of 3 seeds)"
