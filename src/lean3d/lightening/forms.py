"""The forms of a convolution that are tried: all families of cuts, at several ranks.

Papers: ACS, arXiv:1911.10477; PmSCn, arXiv:1809.04096; CSN, arXiv:1904.02811; STDCF, NeurIPS 2021;
R(2+1)D, arXiv:1711.11248.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from lean3d.conversion.lean import Atoms, ChannelSeparated, ParallelSeparable, SpaceTime
from lean3d.conversion.lean.base import Lean
from lean3d.conversion.to3d.acs import ACS, MeanACS
from lean3d.conversion.to3d.planar import Planar
from lean3d.cost import count
from lean3d.errors import LeanError
from lean3d.lightening.cut import Cut, Form, blank

__all__ = [
    "CUTS",
    "FAMILIES",
    "KEPT",
    "check_cuts",
    "forms",
    "joined_forms",
    "kept_channels",
    "macs",
]

# family of cuts -> its forms before a rank is chosen
CUTS: dict[str, tuple[Form, ...]] = {
    "views": (ACS(), MeanACS(), Planar(0), Planar(1), Planar(2)),
    "streams": (
        ParallelSeparable(1, relu=True),
        ParallelSeparable(2, relu=True),
        ParallelSeparable(2, relu=False),
        ParallelSeparable(3, relu=True),
        ParallelSeparable(3, relu=False),
    ),
    "time": (SpaceTime("rank1"), SpaceTime("2plus1d")),
    "groups": (ChannelSeparated("ip"), ChannelSeparated("ir")),
    "atoms": (Atoms(path="stages"),),
    "channels": (),
}
# kind of a form -> its family
FAMILIES = {type(form): family for family, own in CUTS.items() for form in own}
# shares of the dense multiply-adds at which a rank is tried
SHARES = (0.6, 0.4, 0.25, 0.15, 0.08, 0.04)
# a form with no more ranks is tried at all of them
FEW = 12
# shares of the channels of a group
KEPT = (0.75, 0.5, 0.375, 0.25, 0.125)
# least channels: they are kept in multiples, which kernels are fast for
MULTIPLES = {64: 8, 16: 4}
# counts so far, by what was counted
_KNOWN: dict[Any, int | None] = {}
MOST_KNOWN = 10_000


def check_cuts(cuts: Sequence[str]) -> tuple[str, ...]:
    """Return the names of families; refuse others, and none at all."""
    known = ", ".join(CUTS)
    if isinstance(cuts, str) or not isinstance(cuts, list | tuple) or not cuts:
        raise LeanError(f"lighten: cuts is a list of some of {known}, got {cuts!r}")
    for name in cuts:
        if not isinstance(name, str) or name not in CUTS:
            raise LeanError(f"lighten: there is no cut {name!r}; there are {known}")
    return tuple(dict.fromkeys(cuts))


def forms(conv: nn.Conv3d, shape: Sequence[int], cuts: Iterable[str]) -> list[Form]:
    """Return the forms that save multiply-adds on an input of that shape, the costliest first."""
    dense = macs(conv, shape, None) or 0
    found: dict[Form, float] = {}
    for how in (how for name in cuts for how in CUTS[name]):
        if not isinstance(how, Lean) or how.takes(conv):
            found |= _ranks(conv, shape, how, dense)
    return sorted(found, key=lambda form: -found[form])


def _ranks(conv: nn.Conv3d, shape: Sequence[int], how: Form, dense: int) -> dict[Form, float]:
    """Return the ranks of a form whose multiply-adds are nearest to SHARES, with those."""
    choices: list[Any] = how.choices(conv) if isinstance(how, Lean) else [how]
    costs: dict[Form, float | None]
    if len(choices) <= FEW:
        costs = {choice: macs(conv, shape, choice) for choice in choices}
    else:
        # they rise with the rank, nearly evenly
        last = len(choices) - 1
        low, high = macs(conv, shape, choices[0]), macs(conv, shape, choices[last])
        if low is None or high is None:
            return {}
        steps = [(share * dense - low) / max(high - low, 1) for share in SHARES]
        places = [min(max(round(step * last), 0), last) for step in steps]
        costs = {choices[place]: low + (high - low) * place / last for place in places}
    saving = {form: cost for form, cost in costs.items() if cost is not None and cost < dense}
    near = [min(saving, key=lambda f: abs(saving[f] / dense - share)) for share in SHARES if saving]
    return {form: saving[form] for form in near}


def macs(conv: nn.Conv3d, shape: Sequence[int], how: Form | None) -> int | None:
    """Return the multiply-adds of a form of a convolution; None if it cannot have that form."""
    like = nn.Conv3d(1, 1, 1, device="meta")
    vars(like).update(vars(conv))
    held: Any = conv._parameters
    vars(like)["_parameters"] = {n: None if p is None else p.to("meta") for n, p in held.items()}
    like.__class__ = type(conv)
    key = (str(like), type(conv), how, tuple(shape))
    if key not in _KNOWN:
        try:
            _KNOWN[key] = count(blank(like, Cut("", how)), shape).macs
        except LeanError:
            _KNOWN[key] = None  # the operator refuses this kernel
        if len(_KNOWN) > MOST_KNOWN:
            _KNOWN.pop(next(iter(_KNOWN)), None)
    return _KNOWN[key]


def joined_forms(streams: Sequence[int], most: int) -> list[ParallelSeparable]:
    """Return the forms of two consecutive convolutions as one operator."""
    filters = [max(round(most * share), 1) for share in (0.5, 0.25)]
    return [ParallelSeparable(m, 2, filters=max(f // m, 1)) for m in streams for f in filters]


def kept_channels(channels: int, share: float) -> int:
    """Return about that share of a group's channels."""
    if share >= 1:
        return channels
    step = next((step for least, step in MULTIPLES.items() if channels >= least), 1)
    return min(max(round(channels * share / step), 1) * step, channels)
