"""Operators and conversions by the names that recipes and flags use."""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from lean3d import ops
from lean3d.conversion import (
    ACS,
    Atoms,
    ChannelSeparated,
    Dissect,
    Inflate,
    MeanACS,
    ParallelSeparable,
    Planar,
    SoftACS,
    SpaceTime,
)
from lean3d.errors import RunError

__all__ = ["CONVERSIONS", "OPERATORS", "conversion", "operator"]

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

CONVERSIONS: dict[str, Callable[[], Any]] = {
    "acs": ACS,
    "mean_acs": MeanACS,
    "soft_acs": SoftACS,
    "planar": Planar,
    "inflate": Inflate,
    "space_time": SpaceTime,
    "rank1": partial(SpaceTime, form="rank1"),
    "csn_ip": ChannelSeparated,
    "csn_ir": partial(ChannelSeparated, mode="ir"),
    "atoms": Atoms,
    "dissect": Dissect,
    **{
        f"p{streams}sc{depth}": partial(ParallelSeparable, streams=streams, depth=depth)
        for streams in (1, 2, 3)
        for depth in (1, 2)
    },
}


def operator(name: str) -> Callable[..., nn.Module]:
    """Return the operator that replaces nn.Conv3d."""
    return _named("operator", name, OPERATORS)


def conversion(name: str) -> Any:
    """Return the conversion from 2D to 3D or from 3D to lean, with the method's defaults."""
    return _named("conversion", name, CONVERSIONS)()


def _named(what: str, name: str, table: Mapping[str, Any]) -> Any:
    if name not in table:
        near = difflib.get_close_matches(name, table, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(table)}"
        raise RunError(f"no {what} called {name!r}; {hint}")
    return table[name]
