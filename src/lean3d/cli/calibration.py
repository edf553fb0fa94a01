"""Inputs that int8 is calibrated on: of a run its training samples, else noise."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.cli.model import ModelFlags
from lean3d.errors import RunError

__all__ = ["SAMPLES", "calibration_of"]

SAMPLES = 32


def calibration_of(
    network: ModelFlags, sizes: tuple[int, ...], *, samples: int = SAMPLES, data: str | None = None
) -> list[Tensor]:
    """Return inputs of the sizes to be fast for, and a batch of one.

    Args:
        data: Data of the run's kind, in place of its own.
    """
    if network.run is None:
        return [torch.randn(1, *sizes[1:]) for _ in range(samples)]
    from lean3d.recipes.run_inputs import run_inputs

    found = run_inputs(network.run, samples, data=data)
    if found[0].ndim != len(sizes) or found[0].shape[1] != sizes[1]:
        raise RunError(f"--input {sizes} is not like the run's {tuple(found[0].shape)}")
    return [x if x.shape[2:] == sizes[2:] else F.interpolate(x, sizes[2:]) for x in found]
