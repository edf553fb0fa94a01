"""Accuracies of folds against pairs worked out by hand, and a reference that tries thresholds."""

import numpy as np
import pytest

from lean3d.errors import DataError, ShapeError
from lean3d.metrics import best_threshold, verification_scores


def test_folds_worked_out_by_hand():
    # fold 0 is apart at 1.5, fold 1 at 2.5, fold 2 at 2
    distance = [1, 2, 2, 3, 1.5, 2.5]
    same = [True, False, True, False, True, False]
    found = verification_scores(distance, same, [0, 0, 1, 1, 2, 2])
    # folds 1 and 2: 1.5 and 2 are one person, 2.5 and 3 two: 2.25; the lowest of the best
    # folds 0 and 2: 1, 1.5 | 2, 2.5: 1.75; folds 0 and 1: 1 | 2, 2, 3 is as good as 1, 2, 2 | 3
    assert found.threshold.tolist() == [2.25, 1.75, 1.5]
    assert found.right.tolist() == [True, False, False, True, True, True]
    assert found.accuracy.tolist() == [0.5, 0.5, 1.0]
    assert found.margin.tolist() == [1.25, -0.25, -0.25, 1.25, 0, 1.0]
    assert found.mean == pytest.approx(2 / 3)
    # deviations -1/6, -1/6, 1/3: variance (1/36 + 1/36 + 4/36) / 2 = 1/12, over 3 folds
    assert found.standard_error == pytest.approx(1 / 6)


def test_a_threshold_is_the_best_of_all():
    random = np.random.default_rng(0)
    for _ in range(30):
        distance = random.integers(0, 6, 12).astype(float)
        same = random.random(12) < 0.5
        tried = [np.mean((distance <= limit) == same) for limit in np.arange(-2, 8, 0.25)]
        limit = best_threshold(distance, same)
        assert np.mean((distance <= limit) == same) == max(tried)


@pytest.mark.parametrize("truth", [True, False])
def test_pairs_of_one_kind_are_all_right(truth):
    distance = np.array([1.0, 2.0])
    limit = best_threshold(distance, np.array([truth] * 2))
    assert ((distance <= limit) == truth).all()


def test_a_single_fold_is_refused():
    with pytest.raises(DataError, match="two folds or more, got 1"):
        verification_scores([1, 2], [True, False], [3, 3])
    with pytest.raises(ShapeError, match="as many distances"):
        verification_scores([1, 2], [True], [1, 2])
