"""Optimizers and schedules of the learning rate."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lean3d.tasks.segmentation import Segmentation


def rates(epochs=10, **learning):
    """The learning rate of each epoch."""
    task = Segmentation(nn.Conv2d(1, 2, 1), 2, lr=1.0, **learning)
    task._trainer = SimpleNamespace(max_epochs=epochs)
    (optimizer,), (scheduler,) = task.configure_optimizers()
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_the_polynomial_rate_is_the_share_of_epochs_left():
    found = rates(schedule="poly")
    assert found == pytest.approx([(1 - epoch / 10) ** 0.9 for epoch in range(10)])


def test_the_rate_falls_to_a_tenth_at_each_step():
    found = rates(schedule="steps", steps=(5, 8))
    assert found == pytest.approx([1.0] * 5 + [0.1] * 3 + [0.01] * 2)


@pytest.mark.parametrize(
    ("learning", "kind", "values"),
    [
        (dict(optimizer="adamw", weight_decay=0.1), torch.optim.AdamW, dict(weight_decay=0.1)),
        (dict(optimizer="adam"), torch.optim.Adam, dict(weight_decay=0.0)),
        (
            dict(optimizer="sgd", nesterov=True, momentum=0.99),
            torch.optim.SGD,
            dict(nesterov=True, momentum=0.99),
        ),
    ],
)
def test_the_optimizer_is_chosen(learning, kind, values):
    optimizer = Segmentation(nn.Conv2d(1, 2, 1), 2, **learning).configure_optimizers()
    assert type(optimizer) is kind
    assert {name: optimizer.defaults[name] for name in values} == values


def test_convolutions_are_those_of_fast_gradients_while_it_is_fitted():
    layers = nn.Conv3d(2, 2, 3, padding=1, groups=2), nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 3)
    task = Segmentation(nn.Sequential(*layers), 2)
    task.on_fit_start()
    assert [type(part).__name__ for part in task.model] == [
        "DepthwiseConv3d",
        "Conv3d",
        "Conv3d",
    ]
    task.on_fit_end()
    assert all(type(part) is nn.Conv3d for part in task.model)


def test_the_head_is_in_single_precision_while_it_is_fitted():
    task = Segmentation(nn.Sequential(nn.Conv3d(1, 2, 1)), 2)
    x = torch.randn(1, 1, 2, 2, 2)
    task.on_fit_start()
    with torch.autocast("cpu", torch.bfloat16):
        assert task(x).dtype == torch.float32
        task.on_fit_end()
        assert task(x).dtype == torch.bfloat16
