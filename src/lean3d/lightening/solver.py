"""Choose a form for every site, of the least error within a budget: an integer program.

HiGHS solves it exactly, through scipy (Huangfu and Hall, Math. Prog. Comp. 10, 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lean3d.errors import LeanError
from lean3d.optional import require

__all__ = ["Arc", "cheapest", "choose"]

# seconds after which the best choice so far is taken, if it is that near to the best of all
LIMIT, NEAR = 600.0, 0.01
# of two errors the ratio from which the solver's tolerances could hide the smaller one
WIDE = 1e3


@dataclass(frozen=True)
class Arc:
    """One form of one convolution, or of several.

    Args:
        covers: Numbers of the sites that it computes.
        levels: Bundles of channel groups that it touches, and the level of each that it needs.
        error: What it costs in accuracy.
        cost: What it costs of the budget.
        peak: Bytes alive while it runs; the largest of all counts once.
        what: What it makes; not read here.
    """

    covers: tuple[int, ...]
    levels: tuple[tuple[int, int], ...]
    error: float
    cost: float
    peak: float = 0.0
    what: Any = None


def choose(arcs: Sequence[Arc], room: float) -> list[Arc] | None:
    """Return the arcs of the least summed error whose costs and largest peak sum to `room` at most.

    None if there is no such choice.

    Raises:
        LeanError: the search took too long.
    """
    while True:
        errors = np.array([arc.error for arc in arcs])
        found = _solve(arcs, errors, room)
        bound = sum(arc.error for arc in found or ())
        if found is None or errors.max(initial=0) <= WIDE * bound:
            return found
        # an arc worse than a whole choice is in no better one; without it errors are of one scale
        arcs = [arc for arc in arcs if arc.error <= bound]


def cheapest(arcs: Sequence[Arc]) -> list[Arc]:
    """Return the arcs of the smallest sum of costs and largest peak."""
    found = _solve(arcs, np.array([arc.cost for arc in arcs]), np.inf, peaks=True)
    assert found is not None
    return found


def _solve(
    arcs: Sequence[Arc], objective: Any, room: float, *, peaks: bool = False
) -> list[Arc] | None:
    """Columns: whether each arc is chosen, whether each level is, and the largest peak."""
    optimize = require("scipy.optimize", extra="lighten")
    sparse = require("scipy.sparse", extra="lighten")
    costs = np.array([arc.cost for arc in arcs])
    highest = np.array([arc.peak for arc in arcs])
    # units of about 1, so that tolerances of the solver are relative
    unit = max(costs.max(initial=0), highest.max(initial=0), 1e-300)
    scale = max(float(np.abs(objective).max(initial=0)), 1e-300)
    covers: dict[int, list[int]] = {}
    for number, arc in enumerate(arcs):
        for site in arc.covers:
            covers.setdefault(site, []).append(number)
    levels = sorted({level for arc in arcs for level in arc.levels})
    column = {level: len(arcs) + number for number, level in enumerate(levels)}
    width = len(arcs) + len(levels) + 1
    rows: list[Any] = []
    low: list[float] = []
    high: list[float] = []

    def add(values: dict[int, float], least: float, most: float) -> None:
        rows.append(values)
        low.append(least)
        high.append(most)

    for own in covers.values():
        # each site is computed once
        add(dict.fromkeys(own, 1.0), 1.0, 1.0)
        # of levels that it touches, by an arc of the one that is chosen
        touched = set.intersection(*({b for b, _ in arcs[number].levels} for number in own))
        for level in levels:
            if level[0] in touched:
                here = [number for number in own if level in arcs[number].levels]
                add(dict.fromkeys(here, 1.0) | {column[level]: -1.0}, 0.0, 0.0)
        if highest.any():
            peak = {number: -highest[number] / unit for number in own if highest[number]}
            add(peak | {width - 1: 1.0}, 0.0, np.inf)
    if np.isfinite(room):
        add(dict(enumerate(costs / unit)) | {width - 1: 1.0}, -np.inf, room / unit)
    places = [(n, c, v) for n, row in enumerate(rows) for c, v in row.items()]
    numbers, columns, values = zip(*places, strict=True)
    matrix = sparse.csr_matrix((values, (numbers, columns)), shape=(len(rows), width))
    chosen = np.zeros(width)
    chosen[: len(arcs)] = 1
    bounds = np.ones(width)
    bounds[-1] = np.inf if highest.any() else 0.0
    value = np.zeros(width)
    value[: len(arcs)] = objective / scale
    value[-1] = unit / scale if peaks else 0.0
    result = optimize.milp(
        value,
        constraints=optimize.LinearConstraint(matrix, low, high),
        integrality=chosen,
        bounds=optimize.Bounds(0, bounds),
        options={"time_limit": LIMIT, "mip_rel_gap": 1e-6},
    )
    if result.status == 1 and not (result.x is not None and result.mip_gap <= NEAR):
        raise LeanError(
            f"lighten: the best of {len(arcs)} forms was not found in {LIMIT:g} s; name fewer cuts"
        )
    if result.x is None:
        return None
    return [arc for arc, share in zip(arcs, result.x, strict=False) if share > 0.5]
