"""Choices of `optimize` kept in a JSON file: a later process builds the chosen backend alone."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.cost.machine import hardware
from lean3d.errors import LeanError
from lean3d.files import write_text

__all__ = ["Choices"]

# choices of one file; the oldest are dropped
MOST = 64


class Choices:
    """The choices in a file, which need not exist yet, and the one for a network and its input.

    Raises:
        LeanError: it exists and holds something else.
    """

    def __init__(self, path: Path, model: nn.Module, arguments: Sequence[Tensor], precision: str):
        self.path, self.case = path, _case(model, arguments, precision)
        self.rows: list[dict[str, Any]] = _read(path) if path.exists() else []

    @property
    def known(self) -> str | None:
        """The backend chosen for such a case."""
        return next((row["backend"] for row in self.rows if row["case"] == self.case), None)

    def keep(self, backend: str) -> None:
        """Write a choice in place of an earlier one for such a case, beside what others wrote."""
        rows = _read(self.path) if self.path.exists() else []
        others = [row for row in rows if row["case"] != self.case]
        self.rows = [*others, {"case": self.case, "backend": backend}][-MOST:]
        write_text(self.path, json.dumps(self.rows, indent=1) + "\n")


def _case(model: nn.Module, arguments: Sequence[Tensor], precision: str) -> dict[str, Any]:
    """Return what a choice depends on: the network but not its weights, the input, the machine."""
    modules = [(name, type(part).__qualname__) for name, part in model.named_modules()]
    weights = [(name, tuple(x.shape)) for name, x in model.state_dict().items()]
    network = hashlib.sha256(repr((modules, weights)).encode()).hexdigest()[:16]
    return {
        "network": network,
        "inputs": [f"{x.dtype} {list(x.shape)} {x.device.type}" for x in arguments],
        "precision": precision,
        "torch": torch.__version__,
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
    }


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if all(row.keys() == {"case", "backend"} and type(row["backend"]) is str for row in known):
            return list(known)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        pass
    raise LeanError(f"{path} holds no choices of optimize; delete it, or name another file")
