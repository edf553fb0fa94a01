"""Inputs that int8 is calibrated on: of a run its training samples, else noise."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.cli.model import ModelFlags
from lean3d.errors import RunError

__all__ = ["SAMPLES", "calibration_of"]

SAMPLES = 32


# of a clip of noise
FRAMES = 8


def calibration_of(
    network: ModelFlags,
    sizes: tuple[int, ...],
    *,
    samples: int = SAMPLES,
    data: str | None = None,
    clips: bool = False,
) -> list[Tensor]:
    """Return inputs of the sizes to be fast for, and a batch of one.

    Args:
        data: Data of the run's kind, in place of its own.
        clips: The sizes are those of a stream's frame (B, C, H, W); return clips (1, C, T, H, W).
    """
    if network.run is None:
        frames = (FRAMES,) if clips else ()
        return [torch.randn(1, sizes[1], *frames, *sizes[2:]) for _ in range(samples)]
    from lean3d.recipes.run_inputs import run_inputs

    found = run_inputs(network.run, samples, data=data)
    if clips and found[0].ndim == 5:
        sizes = (*sizes[:2], found[0].shape[2], *sizes[2:])
    if found[0].ndim != len(sizes) or found[0].shape[1] != sizes[1]:
        raise RunError(f"--input {sizes} is not like the run's {tuple(found[0].shape)}")
    return [x if x.shape[2:] == sizes[2:] else F.interpolate(x, sizes[2:]) for x in found]
