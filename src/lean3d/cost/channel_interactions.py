"""Channel interactions. Source: Tran et al., CSN, ICCV 2019 (arXiv:1904.02811), equation (3)."""

from math import comb
from typing import Any

import torch
from torch import Tensor

__all__ = ["call_interactions", "interactions"]


def interactions(in_channels: int, out_channels: int, groups: int = 1) -> int:
    """Pairs of input channels combined in one output channel, summed over the output channels.

    Cost: C' * n * (n - 1) / 2 with n = C / groups; independent of kernel size and resolution.
    """
    return out_channels * comb(in_channels // groups, 2)


def call_interactions(op: object, args: tuple[Any, ...]) -> int:
    """Return the interactions of one aten call: those of a convolution, 0 for anything else."""
    if op not in (torch.ops.aten.convolution, torch.ops.aten._convolution):
        return 0
    weight: Tensor = args[1]
    transposed, groups = bool(args[6]), int(args[8])
    if transposed:
        return interactions(weight.shape[0], weight.shape[1] * groups, groups)
    return interactions(weight.shape[1] * groups, weight.shape[0], groups)
