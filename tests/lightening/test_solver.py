"""The integer program against trying everything."""

import itertools
import random

import pytest

from lean3d.lightening.solver import Arc, cheapest, choose


def chains(seed, levels=(4, 2)):
    """Two chains of two convolutions, channels in between free, and an arc over both of one."""
    draw = random.Random(seed)
    arcs = []
    for chain in range(2):
        for step, (starts, ends) in enumerate([((9,), levels), (levels, (9,))]):
            for start, end, form in itertools.product(starts, ends, range(3)):
                error, cost, peak = (draw.random() for _ in range(3))
                arcs.append(Arc(chain, (step, start), (step + 1, end), error, cost, peak, form))
    arcs.append(Arc(1, (0, 9), (2, 9), draw.random(), draw.random(), draw.random(), "both"))
    return arcs


def ways(arcs):
    """All ways through both chains."""
    each = []
    for chain in (0, 1):
        own = [arc for arc in arcs if arc.chain == chain]
        pairs = [
            (a, b)
            for a in own
            for b in own
            if (a.start[0], b.end[0]) == (0, 2) and a.end == b.start
        ]
        each.append(pairs + [(a,) for a in own if (a.start[0], a.end[0]) == (0, 2)])
    return [a + b for a, b in itertools.product(*each)]


def price(way):
    return sum(arc.cost for arc in way) + max(arc.peak for arc in way)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [1.05, 1.5, 3.0])
def test_the_choice_is_the_best_of_all(seed, share):
    arcs = chains(seed)
    least = min(map(price, ways(arcs)))
    assert price(cheapest(arcs)) == pytest.approx(least)
    fitting = [way for way in ways(arcs) if price(way) <= share * least]
    best = min(sum(arc.error for arc in way) for way in fitting)
    found = choose(arcs, share * least)
    assert price(found) <= share * least * (1 + 1e-6)
    assert sum(arc.error for arc in found) == pytest.approx(best)


def test_no_choice_within_less_than_the_least():
    arcs = chains(0)
    assert choose(arcs, 0.99 * price(cheapest(arcs))) is None
