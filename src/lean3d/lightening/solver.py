"""Choose one way through every chain, of the least error within a budget: an integer program.

HiGHS solves it exactly, through scipy (Huangfu and Hall, Math. Prog. Comp. 10, 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lean3d.optional import require

__all__ = ["Arc", "cheapest", "choose"]

# seconds
LIMIT = 60.0


@dataclass(frozen=True)
class Arc:
    """One form of one convolution, or of several: a step along its chain.

    Args:
        chain: Number of the chain.
        start, end: Nodes: the number of convolutions passed, and the channels there.
        error: What it costs in accuracy.
        cost: What it costs of the budget.
        peak: Bytes alive while it runs; the largest of all counts once.
        what: What it makes; not read here.
    """

    chain: int
    start: tuple[int, int]
    end: tuple[int, int]
    error: float
    cost: float
    peak: float = 0.0
    what: Any = None


def choose(arcs: Sequence[Arc], room: float) -> list[Arc] | None:
    """Return the arcs of the least summed error whose costs and largest peak sum to `room` at most.

    None if there is no such choice.
    """
    return _solve(arcs, np.array([arc.error for arc in arcs]), room)


def cheapest(arcs: Sequence[Arc]) -> list[Arc]:
    """Return the arcs of the smallest sum of costs and largest peak."""
    found = _solve(arcs, np.array([arc.cost for arc in arcs]), np.inf, peaks=True)
    assert found is not None
    return found


def _solve(
    arcs: Sequence[Arc], objective: Any, room: float, *, peaks: bool = False
) -> list[Arc] | None:
    optimize = require("scipy.optimize", extra="lighten")
    sparse = require("scipy.sparse", extra="lighten")
    costs = np.array([arc.cost for arc in arcs])
    highest = np.array([arc.peak for arc in arcs])
    # units of about 1, so that tolerances of the solver are relative
    unit = max(costs.max(initial=0), highest.max(initial=0), 1e-300)
    scale = max(float(np.abs(objective).max(initial=0)), 1e-300)
    value = np.append(objective / scale, unit / scale if peaks else 0.0)
    flows, wanted = _flows(arcs)
    rows = [np.append(row, 0.0) for row in flows]
    low, high = list(wanted), list(wanted)
    if np.isfinite(room):
        rows.append(np.append(costs / unit, 1.0))
        low.append(-np.inf)
        high.append(room / unit)
    for place in sorted({(arc.chain, arc.start[0]) for arc in arcs}) if highest.any() else ():
        here = [(arc.chain, arc.start[0]) == place for arc in arcs]
        rows.append(np.append(-np.where(here, highest, 0) / unit, 1.0))
        low.append(0.0)
        high.append(np.inf)
    bounds = np.append(np.ones(len(arcs)), np.inf if highest.any() else 0.0)
    result = optimize.milp(
        value,
        constraints=optimize.LinearConstraint(sparse.csr_matrix(np.array(rows)), low, high),
        integrality=np.append(np.ones(len(arcs)), 0),
        bounds=optimize.Bounds(0, bounds),
        options={"time_limit": LIMIT, "mip_rel_gap": 1e-6},
    )
    if result.x is None:
        return None
    return [arc for arc, share in zip(arcs, result.x, strict=False) if share > 0.5]


def _flows(arcs: Sequence[Arc]) -> tuple[list[Any], list[float]]:
    """One arc leaves the start of each chain, and what enters a node leaves it."""
    rows: list[Any] = []
    wanted: list[float] = []
    for chain in sorted({arc.chain for arc in arcs}):
        own = [number for number, arc in enumerate(arcs) if arc.chain == chain]
        last = max(arcs[number].end[0] for number in own)
        nodes = {node for number in own for node in (arcs[number].start, arcs[number].end)}
        for node in sorted(nodes):
            if node[0] == last:
                continue
            row = np.zeros(len(arcs))
            for number in own:
                row[number] = (arcs[number].start == node) * 1.0 - (arcs[number].end == node) * 1.0
            rows.append(row)
            wanted.append(1.0 if node[0] == 0 else 0.0)
    return rows, wanted
