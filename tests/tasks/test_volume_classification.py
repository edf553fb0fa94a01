import pytest
import torch
from torch import nn

from lean3d.errors import RunError, ShapeError
from lean3d.metrics.outputs import class_probabilities
from lean3d.tasks.volume_classification import VolumeClassification


def task(num=3, **settings):
    return VolumeClassification(nn.Flatten(), num, **settings)


def test_ordered_classes_have_probabilities_of_sum_one():
    logits = torch.tensor([[9.0, 9, -9], [-9, 9, 9], [0, 0, 0]])
    prob = class_probabilities(logits, ordinal=True)
    torch.testing.assert_close(prob.sum(1), torch.ones(3))
    assert (prob >= 0).all()
    assert prob.argmax(1).tolist()[:2] == [2, 0]
    torch.testing.assert_close(prob[2], torch.tensor([0.5, 0, 0, 0.5]))


def test_an_error_of_two_classes_costs_more_than_one_of_one():
    ordered = task(4, ordinal=True)
    said = torch.tensor([[9.0, -9, -9]])  # class 1
    losses = [ordered._loss(said, torch.tensor([label])).item() for label in (1, 2, 3)]
    assert losses[0] < losses[1] < losses[2]


def test_rare_classes_can_weigh_more():
    logits, label = torch.tensor([[2.0, 0, 0], [2, 0, 0]]), torch.tensor([0, 2])
    assert task(weights=[1, 1, 4])._loss(logits, label) > task()._loss(logits, label)
    more, equal = task(weights=[1, 1, 1, 4], ordinal=True, num=4), task(4, ordinal=True)
    logits = torch.tensor([[-2.0, -2, -2], [-2, -2, -2]])
    label = torch.tensor([0, 3])
    assert more._loss(logits, label) > equal._loss(logits, label)


def test_outputs_of_another_number_are_refused():
    with pytest.raises(ShapeError, match=r"\(2, 3\), got \(2, 4\)"):
        task()._logits((torch.zeros(2, 4), torch.zeros(2).long()))


@pytest.mark.parametrize("weights", [[1, 1], [1, 1, 0]])
def test_odd_weights_are_refused(weights):
    with pytest.raises(RunError, match="3 numbers above 0"):
        task(weights=weights)
