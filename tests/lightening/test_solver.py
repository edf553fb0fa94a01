"""The integer program against trying everything."""

import itertools
import random

import numpy as np
import pytest
from scipy import optimize

from lean3d.errors import LeanError
from lean3d.lightening.solver import Arc, cheapest, choose


def arcs_of(seed, levels=2):
    """Three convolutions: the first and the last touch one group, as across a residual block.

    The middle one touches it and a group of its own; an arc computes the last two.
    """
    draw = random.Random(seed)
    touched = {0: ("stream",), 1: ("stream", "inner"), 2: ("inner", "stream")}
    bundles = {"stream": 0, "inner": 1}
    arcs = []
    for site, names in touched.items():
        for own in itertools.product(range(levels), repeat=len(names)):
            for form in range(2):
                error, cost, peak = (draw.random() for _ in range(3))
                pairs = tuple(sorted(zip((bundles[n] for n in names), own, strict=True)))
                arcs.append(Arc((site,), pairs, error, cost, peak, form))
    arcs.append(Arc((1, 2), ((0, 0), (1, 0)), draw.random(), draw.random(), draw.random(), "both"))
    return arcs


def ways(arcs):
    """All choices that agree on the levels."""
    found = []
    for number in (2, 3):
        for way in itertools.combinations(arcs, number):
            sites = sorted(site for arc in way for site in arc.covers)
            levels = {level for arc in way for level in arc.levels}
            if sites == [0, 1, 2] and len({bundle for bundle, _ in levels}) == len(levels):
                found.append(way)
    return found


def price(way):
    return sum(arc.cost for arc in way) + max(arc.peak for arc in way)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [1.05, 1.5, 3.0])
def test_the_choice_is_the_best_of_all(seed, share):
    arcs = arcs_of(seed)
    every = ways(arcs)
    least = min(map(price, every))
    assert price(cheapest(arcs)) == pytest.approx(least)
    fitting = [way for way in every if price(way) <= share * least]
    best = min(sum(arc.error for arc in way) for way in fitting)
    found = choose(arcs, share * least)
    assert price(found) <= share * least * (1 + 1e-6)
    assert sum(arc.error for arc in found) == pytest.approx(best)


def many(sites, forms):
    sizes = np.random.default_rng(0).random((sites, forms, 2)) + 0.1
    return [Arc((site,), (), *map(float, one)) for site, row in enumerate(sizes) for one in row]


@pytest.mark.parametrize("error", [1e6, 1e30])
def test_a_form_that_is_far_off_does_not_hide_the_others(error):
    arcs = many(20, 5)
    room = 1.5 * sum(arc.cost for arc in cheapest(arcs))
    off = Arc((0,), (), error, 0.5 * arcs[0].cost)
    assert choose([off, *arcs], room) == choose(arcs, room)


def test_a_search_that_takes_too_long_is_refused(monkeypatch):
    arcs = many(40, 9)
    room = 1.2 * sum(arc.cost for arc in cheapest(arcs))
    assert choose(arcs, room) is not None
    monkeypatch.setattr("lean3d.lightening.solver.LIMIT", 1e-6)
    with pytest.raises(LeanError, match="the best of 360 forms was not found in 1e-06 s"):
        choose(arcs, room)


@pytest.mark.parametrize(("gap", "taken"), [(0.009, True), (0.011, False)])
def test_a_stopped_search_gives_what_is_within_a_percent(monkeypatch, gap, taken):
    arcs = arcs_of(0)
    room = 1.5 * price(cheapest(arcs))
    best, solve = choose(arcs, room), optimize.milp

    def stopped(*args, **kwargs):
        found = solve(*args, **kwargs)
        found.status, found.mip_gap = 1, gap
        return found

    monkeypatch.setattr(optimize, "milp", stopped)
    if taken:
        assert choose(arcs, room) == best
    else:
        with pytest.raises(LeanError, match="was not found"):
            choose(arcs, room)


def test_no_choice_within_less_than_the_least():
    arcs = arcs_of(0)
    assert choose(arcs, 0.99 * price(cheapest(arcs))) is None
