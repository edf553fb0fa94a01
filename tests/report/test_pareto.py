import math
from itertools import combinations

import pytest
from matplotlib.transforms import Bbox

from lean3d.errors import RunError
from lean3d.report import Point, draw_pareto
from lean3d.report.pareto import front

CHEAP, BEST, BEATEN, TIE = (
    Point("cheap", 1e9, 0.8),
    Point("best", 3e9, 0.9),
    Point("beaten", 2e9, 0.7),
    Point("tie", 3e9, 0.85),
)


def labels(figure):
    return {text.get_text(): text for text in figure.axes[0].texts}


def test_the_front_holds_what_nothing_cheaper_or_equal_beats():
    assert front([BEST, TIE, BEATEN, CHEAP]) == [CHEAP, BEST]


def test_the_line_is_the_front_in_order_of_cost():
    line, rest = draw_pareto([BEST, TIE, BEATEN, CHEAP]).axes[0].lines
    assert list(zip(*line.get_data(), strict=True)) == [(1, 0.8), (3, 0.9)]
    assert sorted(rest.get_xdata()) == [2, 3]


def test_names_cover_neither_each_other_nor_a_point_nor_the_edge():
    crowd = [Point(f"model number {i}", 1e9 * (1 + i / 50), 0.8 + i % 3 / 500) for i in range(9)]
    figure = draw_pareto(crowd)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in labels(figure).values()]
    assert len(boxes) == 9
    assert not any(Bbox.intersection(*pair) for pair in combinations(boxes, 2))
    marks = axes.transData.transform([(p.macs / 1e9, p.dice) for p in crowd])
    assert not any(box.contains(*mark) for box in boxes for mark in marks)
    frame = axes.get_window_extent()
    assert all(frame.contains(*corner) for box in boxes for corner in box.corners())


def test_the_axis_names_the_unit_of_its_numbers():
    small = [Point("a", 2e6, 0.5), Point("b", 5e6, 0.6)]
    assert draw_pareto(small).axes[0].get_xlabel().startswith("MMACs")
    assert draw_pareto([CHEAP, BEST]).axes[0].get_xlabel().startswith("GMACs")


def test_a_point_without_a_score_is_left_out():
    lost = Point("lost", 2e9, math.nan)
    assert set(labels(draw_pareto([CHEAP, lost]))) == {"cheap"}
    with pytest.raises(RunError, match="finite Dice, got none"):
        draw_pareto([lost])
