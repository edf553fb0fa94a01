"""The network of a run, run by the fastest backend."""

import os
import sys
from functools import partial
from pathlib import Path

from torch import nn

from lean3d.recipes.run_inputs import run_inputs
from lean3d.runtime import OptimizedAtFirstCall

__all__ = ["CHOICES", "SAMPLES", "choices_of", "fast_network"]

# in a run folder, the backends that were chosen for its network
CHOICES = "optimized.json"
# training samples that int8 is calibrated on
SAMPLES = 32


def fast_network(model: nn.Module, run: str | Path, precision: str = "float32") -> nn.Module:
    """Return the network of a run for inference, optimised at its first call.

    Int8 is calibrated on samples that the run was trained on.

    The choice is kept in the run, unless that cannot be written; stderr says what was chosen.
    """
    samples = partial(run_inputs, run, SAMPLES) if precision == "int8" else None
    return OptimizedAtFirstCall(model, choices_of(run), _say, precision, samples)


def choices_of(run: str | Path) -> Path | None:
    """Return the file in which a run keeps what was chosen, None where it cannot be written."""
    return Path(run) / CHOICES if os.access(run, os.W_OK) else None


def _say(sentence: str) -> None:
    print(f"lean3d: {sentence}", file=sys.stderr, flush=True)
