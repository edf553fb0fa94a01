import math

import pytest

from lean3d.errors import RunError
from lean3d.report import draw_confusion, draw_pairs, draw_roc, draw_spread


def test_every_case_is_a_dot_in_the_row_of_its_class():
    figure = draw_spread({"liver": [0.9, 0.8, math.nan], "lesion": [0.2]}, "Dice")
    liver, lesion = (dots.get_offsets() for dots in figure.axes[0].collections)
    assert sorted(liver[:, 0]) == [0.8, 0.9]
    assert lesion[:, 0] == [0.2]
    assert all(abs(y - row) < 0.2 for row, dots in enumerate((liver, lesion)) for y in dots[:, 1])
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["liver (1 without)", "lesion"]


def test_no_class_is_refused():
    with pytest.raises(RunError, match="got none"):
        draw_spread({}, "Dice")


def test_pairs_are_on_equal_axes():
    figure = draw_pairs([(0.5, 0.7), (0.9, math.nan), (0.6, 0.6)], "a", "b")
    axes = figure.axes[0]
    assert axes.collections[0].get_offsets().tolist() == [[0.5, 0.7], [0.6, 0.6]]
    assert axes.get_xlim() == axes.get_ylim()
    assert draw_pairs([(math.nan, 1.0)], "a", "b").axes[0].collections[:] == []


def test_a_row_of_the_confusion_is_the_shares_of_a_true_class():
    figure = draw_confusion([[3, 1], [0, 0]], ["a", "b"], "cases")
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.75", "0.25", "-", "-"]
    assert figure.axes[0].images[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]


def test_a_curve_has_its_name():
    axes = draw_roc({"AUC 0.9": ([0, 0.1, 1], [0, 0.8, 1])}).axes[0]
    assert list(axes.lines[1].get_ydata()) == [0, 0.8, 1]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["AUC 0.9"]
