import math

import numpy as np
import pytest

from lean3d.errors import DataError
from lean3d.metrics import bootstrap_interval, compare_pairs


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide():
    values = np.random.default_rng(1).normal(0.8, 0.1, 400)
    found = bootstrap_interval([*values, math.nan])
    assert found.num == 400
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.002)
    assert found.high == pytest.approx(values.mean() + half, abs=0.002)
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_pooled_counts_are_resampled_together():
    def dice(both, either, axis):
        return 2 * both.sum(axis) / either.sum(axis)

    found = bootstrap_interval([[9, 0], [20, 2]], dice, pooled=True)
    # a resample holds the first case alone, the second alone, or both
    assert (found.value, found.low, found.high) == pytest.approx((18 / 22, 0, 18 / 20))


def test_one_case_has_no_interval_and_none_has_no_score():
    one = bootstrap_interval([0.5, math.nan])
    assert (one.value, one.num) == (0.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(bootstrap_interval([math.nan]).value)


def test_pairs_worked_out_by_hand():
    found = compare_pairs([0.9, 0.8, 0.7, 0.6, 0.5, math.nan], [0.8, 0.6, 0.4, 0.2, 0.0, 1.0])
    assert found.mean == pytest.approx(0.3)
    # all of five differences have one sign: 2 of the 32 assignments of signs are as extreme
    assert found.p == pytest.approx(2 / 32)
    assert (found.num, found.better, found.worse) == (5, 5, 0)
    assert 0.1 < found.low < found.mean < found.high < 0.5


def test_equal_scores_do_not_differ():
    found = compare_pairs([0.5, 0.7], [0.5, 0.7])
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_other_numbers_of_cases_are_refused():
    with pytest.raises(DataError, match="2 and 1"):
        compare_pairs([0.5, 0.7], [0.5])
    with pytest.raises(DataError, match="every kind"):
        bootstrap_interval([[1, 2], [1]], pooled=True)
