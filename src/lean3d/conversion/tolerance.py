"""The relative errors of the self-checks, and how large they may be.

Two measures: `largest` compares values, where one wrong voxel must show; `in_norm` compares energy,
where a fit is meant to be near but not equal.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "FOLDED",
    "GRAY",
    "LEAN",
    "PHASES",
    "ROUNDINGS",
    "STEPS",
    "TO_3D",
    "in_norm",
    "largest",
]

# a 3D network against the 2D one: errors of rounding alone, 1e-15 to 1e-8 in double precision over
# the zoos; a wrong rule gives 1e-3 or more. The second number bounds badly conditioned networks.
TO_3D = {torch.float64: (1e-6, 1e-3), torch.float32: (1e-4, 1e-2)}
# how many times the effect of a change of the input by one rounding a network may add up
ROUNDINGS = 1e4
# other input channels: float32 networks run once with summed filters
GRAY = 1e-4
# lean network against the dense one of its fitted kernels, which are stored in float32
LEAN = 1e-4
# causal network frame by frame against the clip, where running means add in another order
STEPS = 1e-4
# batch norms fused into weights that are rounded to float32 once
FOLDED = 1e-5
# phases of a trained transposed kernel, which are equal after the conversion
PHASES = 1e-5

TINY = 1e-30


def largest(wanted: Tensor, got: Tensor) -> float:
    """Return the largest difference over the largest value wanted; infinite if shapes differ."""
    if wanted.shape != got.shape:
        return math.inf
    if wanted.numel() == 0:
        return 0.0
    if not wanted.is_complex():
        wanted, got = wanted.double(), got.double()
    worst = ((wanted - got).abs().max() / wanted.abs().max().clamp_min(TINY)).item()
    return math.inf if math.isnan(worst) else worst


def in_norm(wanted: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    """Return norm(difference) / norm(wanted) over all tensors; infinite if shapes differ."""
    if [x.shape for x in wanted] != [x.shape for x in got]:
        return math.inf
    missed = sum(float((x - y).norm()) ** 2 for x, y in zip(wanted, got, strict=True))
    whole = sum(float(x.norm()) ** 2 for x in wanted)
    return (missed / max(whole, TINY**2)) ** 0.5
