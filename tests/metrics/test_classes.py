import math

import pytest
import torch

from lean3d.errors import ShapeError
from lean3d.metrics import class_scores, interval_of_scores


def two(*second):
    second = torch.tensor(second)
    return torch.stack([1 - second, second], dim=1)


def test_scores_of_two_classes_worked_out_by_hand():
    label = torch.tensor([0, 0, 0, 1, 1])
    found = class_scores(two(0.1, 0.2, 0.7, 0.6, 0.9), label)
    assert found["accuracy"] == pytest.approx(4 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    # of the six pairs, one is in the wrong order
    assert found["auc"] == pytest.approx(5 / 6)
    # precision at the ranks of the positives: 1 and 2 of 3
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)


def test_several_classes_are_each_against_the_rest_and_absent_ones_have_no_score():
    prob = torch.tensor([[0.8, 0.1, 0.1, 0], [0.2, 0.7, 0.1, 0], [0.5, 0.4, 0.1, 0]])
    found = class_scores(prob, torch.tensor([0, 1, 1]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["auc"] == pytest.approx(1)


def test_a_class_alone_has_no_area():
    found = class_scores(two(0.1, 0.9), torch.tensor([1, 1]))
    assert math.isnan(found["auc"])
    assert found["accuracy"] == 0.5


def test_the_kappa_counts_how_far_a_class_is_off():
    label = torch.tensor([0, 1, 2, 3])
    near, far = (torch.eye(4)[order] for order in ([1, 0, 2, 3], [3, 1, 2, 0]))
    assert class_scores(torch.eye(4), label)["kappa"] == pytest.approx(1)
    assert class_scores(near, label)["kappa"] > class_scores(far, label)["kappa"]


def test_intervals_hold_the_score():
    random = torch.Generator().manual_seed(0)
    label = torch.randint(2, (60,), generator=random)
    prob = two(*(0.3 * label + 0.7 * torch.rand(60, generator=random)).tolist())
    found, intervals = class_scores(prob, label), interval_of_scores(prob, label)
    for name, (low, high) in intervals.items():
        assert low < found[name] < high
    assert intervals == interval_of_scores(prob, label)


def test_odd_shapes_are_refused():
    with pytest.raises(ShapeError, match="two classes or more"):
        class_scores(torch.rand(3, 1), torch.zeros(3).long())
