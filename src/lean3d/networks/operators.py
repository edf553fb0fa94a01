"""Operators and conversions by the names that recipes and flags use."""

import difflib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from torch import nn

from lean3d import ops
from lean3d.conversion.api import DENSE
from lean3d.conversion.lean.base import Lean
from lean3d.conversion.methods import METHODS
from lean3d.conversion.to3d.base import To3D
from lean3d.errors import RunError

__all__ = ["OPERATORS", "conversion", "operator"]

OPERATORS: dict[str, Callable[..., nn.Module]] = {
    "conv3d": nn.Conv3d,
    "acs": ops.ACSConv3d,
    "mean_acs": ops.MeanACSConv3d,
    "soft_acs": ops.SoftACSConv3d,
    "planar": ops.PlanarConv3d,
    "space_time": ops.SpaceTimeConv3d,
    "csn_ip": ops.ChannelSeparatedConv3d,
    "csn_ir": partial(ops.ChannelSeparatedConv3d, mode="ir"),
    "atoms": ops.AtomConv3d,
    "causal": ops.CausalConv3d,
    **{
        f"p{streams}sc{depth}": partial(ops.ParallelSeparableConv3d, streams=streams, depth=depth)
        for streams in (1, 2, 3)
        for depth in (1, 2)
    },
}


def operator(name: str) -> Callable[..., nn.Module]:
    """Return the operator that replaces nn.Conv3d."""
    if name not in OPERATORS:
        near = difflib.get_close_matches(name, OPERATORS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(OPERATORS)}"
        raise RunError(f"no operator called {name!r}; {hint}")
    return OPERATORS[name]


def conversion(name: str, keep_depth: int | Literal["all"] = 0) -> Any:
    """Return the method that converts 2D to 3D, or to lean, with the method's defaults.

    Args:
        keep_depth: From 2D: how many of the first downsamplings leave depth alone. A lean form
            then comes as a pair, behind the method that gives it dense kernels.

    Raises:
        RunError: there is none of that name, or it has no keep_depth.
    """
    how = METHODS.find(name).build()
    if keep_depth == 0:
        return how
    if not isinstance(how, To3D | Lean):
        raise RunError(f"keep_depth is for a conversion from 2D, which {name} is not")
    kept = None if keep_depth == "all" else keep_depth
    if isinstance(how, Lean):
        return replace(DENSE, keep_depth=kept), how
    return replace(how, keep_depth=kept)
