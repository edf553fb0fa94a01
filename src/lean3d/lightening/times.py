"""A table of times on disk, by machine and by what was timed: one JSON file for all networks."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from lean3d.cost.machine import hardware, processor
from lean3d.errors import LeanError
from lean3d.files import write_text
from lean3d.lock import held

__all__ = ["Times", "default_folder"]

NAME = "times.json"
# largest size in bytes of a table that is read
LONGEST = 1 << 26


def default_folder() -> Path:
    """Return $LEAN3D_CACHE, or lean3d in the cache folder of the user."""
    named = os.environ.get("LEAN3D_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lean3d"


class Times:
    """Times of forms relative to the dense convolution at the same place, on this machine.

    A table that is damaged, or that cannot be written, is one without entries.

    Args:
        folder: Where the table is; None keeps nothing.
        settings: What changes times besides the machine: backend, precision, device.
    """

    def __init__(self, folder: Path | None, *settings: str):
        self.folder = folder
        on = hardware() if "cuda" in settings else processor()
        parts = (on, f"{torch.get_num_threads()} threads", f"torch {torch.__version__}", *settings)
        self.machine = ", ".join(parts)
        self.known: dict[str, float] = self._read().get(self.machine, {})
        self.new: dict[str, float] = {}

    def get(self, key: str) -> float | None:
        return self.known.get(key)

    def put(self, key: str, ratio: float) -> None:
        self.known[key] = self.new[key] = ratio

    def save(self) -> None:
        """Add what was measured to the file; others may have added to it meanwhile."""
        if self.folder is None or not self.new:
            return
        with contextlib.suppress(OSError, LeanError), held(self.folder, wait=True):
            table = self._read()
            table[self.machine] = {**table.get(self.machine, {}), **self.new}
            write_text(self.folder / NAME, json.dumps(table, indent=0) + "\n")
            self.new = {}

    def _read(self) -> dict[str, dict[str, float]]:
        path = None if self.folder is None else self.folder / NAME
        try:
            if path is None or not path.is_file() or path.stat().st_size > LONGEST:
                return {}
            table: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(table, dict):
            return {}
        return {
            str(machine): {k: v for k, v in times.items() if isinstance(v, float) and v > 0}
            for machine, times in table.items()
            if isinstance(times, dict)
        }
