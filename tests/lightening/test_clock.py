"""Timing forms within the seconds that there are."""

import itertools

import pytest
import torch
from torch import nn

from lean3d.lightening import CUTS, clock
from lean3d.lightening.candidates import Levels, arithmetic, front, options_of
from lean3d.lightening.price import ByTime
from lean3d.lightening.sites import find_places
from lean3d.lightening.times import Times


@pytest.fixture
def timed(monkeypatch):
    """Return how many forms of each convolution are timed in that many readings of the clock."""

    def time(seconds):
        torch.manual_seed(0)
        widths = 1, 8, 16, 24
        layers = [nn.Conv3d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)]
        model = nn.Sequential(*layers, nn.Conv3d(24, 2, 1)).eval()
        x = torch.randn(1, 1, 4, 6, 6)
        places = find_places(model, (x,), fewer=True)
        options = front(options_of(places, Levels(places, tuple(CUTS)), tuple(CUTS)), arithmetic)
        seconds_passed = itertools.count()
        monkeypatch.setattr(clock, "_now", lambda: float(next(seconds_passed)))
        own = clock.Clock("eager", "float32", x.device, Times(None), seconds)
        price = ByTime(own, model, (x,), places.sites, options)
        return {path: len(ratios) for path, ratios in price.ratios.items()}

    return time


def test_where_time_is_short_each_convolution_has_its_share_of_it(timed):
    every, some = timed(1e9), timed(200.0)
    assert list(some) == ["0", "1", "2", "3"]
    assert sum(some.values()) < 0.8 * sum(every.values())
    assert all(some[path] >= min(every[path], 10) for path in every)
