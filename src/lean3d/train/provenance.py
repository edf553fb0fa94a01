"""Provenance of results: versions, commit, hardware, date."""

import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import lean3d
from lean3d.cost.machine import hardware
from lean3d.processes import place

__all__ = ["other_machine", "provenance"]


def provenance() -> dict[str, Any]:
    """Return the facts needed to repeat a result, as JSON-able values."""
    return {
        "lean3d": lean3d.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "processes": place().size,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def other_machine(sessions: Sequence[dict[str, Any]]) -> str | None:
    """Return a message if the last session computes sums in another order than an earlier one."""
    *before, now = sessions
    last = next((old["processes"] for old in reversed(before) if "processes" in old), None)
    if last is not None and last != now["processes"]:
        processes = "1 process" if last == 1 else f"{last} processes"
        return (
            f"begun with {processes} and resumed with {now['processes']}: a step takes "
            f"{now['processes'] / last:.3g} times as many samples (--accumulate can make up for "
            "it), and the weights are no longer those of a run that was never stopped"
        )
    for name in ("threads", "torch", "hardware"):
        for old in before:
            if name in old and old[name] != now[name]:
                return (
                    f"begun with {name} {old[name]} and resumed with {now[name]}: its weights are "
                    "no longer bit-equal to those of a run that was never stopped"
                )
    return None


def _commit() -> str | None:
    """Return the commit of this source; None for an installed package."""
    here = Path(lean3d.__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        tracked = subprocess.run(
            [*command[:3], "ls-files", "--error-unmatch", "__init__.py"], capture_output=True
        )
        if tracked.returncode:
            return None  # the repository of another project around a virtual environment
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    except OSError:
        return None  # no git here
