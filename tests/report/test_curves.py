import math

import pytest

from lean3d.errors import RunError
from lean3d.report import draw_curves

ROWS = [
    {"epoch": 1, "train_loss": 1.0, "val_loss": 1.2, "val_dice": 0.5},
    {"epoch": 2, "train_loss": 0.8, "val_loss": math.nan, "val_dice": None},
    {"epoch": 3, "train_loss": 0.6, "val_loss": 0.9},
]


def lines(figure, panel):
    return [list(zip(*line.get_data(), strict=True)) for line in figure.axes[panel].lines]


def test_draws_each_value_at_its_epoch_and_skips_the_unknown():
    figure = draw_curves({"ACS": ROWS})
    assert lines(figure, 0) == [[(1, 1.0), (2, 0.8), (3, 0.6)], [(1, 1.2), (3, 0.9)]]
    assert lines(figure, 1) == [[(1, 0.5)]]


def test_a_run_has_one_colour_in_both_panels_and_one_name():
    figure = draw_curves({"ACS": ROWS, "3D": ROWS})
    train, val, *_ = figure.axes[0].lines
    dice, other = figure.axes[1].lines
    assert train.get_color() == val.get_color() == dice.get_color() != other.get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ACS", "3D"]


def test_the_only_validated_epoch_is_a_whole_number():
    figure = draw_curves({"ACS": ROWS[:1]})
    figure.canvas.draw()
    assert [tick for tick in figure.axes[1].get_xticks() if tick % 1] == []


def test_needs_an_epoch():
    with pytest.raises(RunError, match="at least one epoch"):
        draw_curves({"ACS": []})
