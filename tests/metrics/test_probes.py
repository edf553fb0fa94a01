"""A linear classifier of features."""

import pytest
import torch

from lean3d.errors import RunError
from lean3d.metrics import linear_probe


def drawn(num, seed):
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    centres = torch.tensor([[0.0, 50.0], [0.0, -50.0], [9.0, 0.0]])
    return centres[labels] + torch.randn(num, 2, generator=random), labels


def test_classes_apart_are_told_apart_whatever_the_scale_of_features():
    others, labels = drawn(60, 1)
    (prob,) = linear_probe(drawn(90, 0), [others], num_classes=3)
    assert torch.equal(prob.argmax(1), labels)
    assert prob.sum(1).allclose(torch.ones(60))
    features, known = drawn(90, 0)
    scale = torch.tensor([1e-3, 1e4])
    (same,) = linear_probe((features * scale, known), [others * scale], num_classes=3)
    assert same.allclose(prob, atol=1e-4)


def test_a_class_without_training_samples_has_no_probability():
    features, labels = drawn(90, 0)
    kept = labels != 1
    (prob,) = linear_probe((features[kept], labels[kept]), [features], num_classes=4)
    assert prob.shape == (90, 4)
    assert not prob[:, [1, 3]].any()
    assert prob[:, [0, 2]].sum(1).allclose(torch.ones(90))


def test_a_class_that_weighs_more_is_found_more_often():
    random = torch.Generator().manual_seed(0)
    features, labels = torch.randn(200, 1, generator=random), torch.arange(200) % 2
    features[labels == 1] += 0.5
    found = [
        linear_probe((features, labels), [features], num_classes=2, class_weights={0: 1, 1: w})
        for w in (1.0, 5.0)
    ]
    assert (found[1][0].argmax(1) == 1).sum() > (found[0][0].argmax(1) == 1).sum()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, y: (x, torch.zeros_like(y)), "two classes or more"),
        (lambda x, y: (x * torch.nan, y), "NaN or infinity"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, says):
    features, labels = drawn(30, 0)
    with pytest.raises(RunError, match=says):
        linear_probe(change(features, labels), [features], num_classes=3)
