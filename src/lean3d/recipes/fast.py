"""The network of a run, run by the fastest backend."""

import os
import sys
from pathlib import Path

from torch import nn

from lean3d.runtime import OptimizedAtFirstCall

__all__ = ["CHOICES", "fast_network"]

# in a run folder, the backends that were chosen for its network
CHOICES = "optimized.json"


def fast_network(model: nn.Module, run: str | Path) -> nn.Module:
    """Return the network of a run for inference, optimised at its first call.

    The choice is kept in the run, unless that cannot be written; stderr says what was chosen.
    """
    run = Path(run)
    choices = run / CHOICES if os.access(run, os.W_OK) else None
    return OptimizedAtFirstCall(model, choices, _say)


def _say(sentence: str) -> None:
    print(f"lean3d: {sentence}", file=sys.stderr, flush=True)
