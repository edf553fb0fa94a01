"""The head of a classifier, and the features that it is given."""

import pytest
import torch
from torch import nn

from lean3d import ACS, Planar, PlaneCycle, convert
from lean3d.errors import RunError
from lean3d.models.heads import head_features, score_head


class Net(nn.Module):
    """A classifier of images whose head is `head`, on averaged or on all positions."""

    def __init__(self, head, pooled):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, 3, 1, 1), nn.Conv2d(6, 6, 3, 1, 1)
        self.head, self.pooled = head, pooled

    def body(self, x):
        return self.two(self.one(x).relu()).relu()

    def forward(self, x):
        y = self.body(x)
        if isinstance(self.head, nn.Linear):
            return self.head(y.mean((2, 3)))
        return self.head(y.mean((2, 3), keepdim=True) if self.pooled else y).mean((2, 3))


HEADS = [lambda: (nn.Linear(6, 4), True), lambda: (nn.Conv2d(6, 4, 1), True)]
HEADS += [lambda: (nn.Conv2d(6, 4, 1), False)]


@pytest.mark.parametrize("make", HEADS)
@pytest.mark.parametrize("how", [ACS(), Planar(), PlaneCycle()])
@torch.no_grad()
def test_scores_are_those_of_the_features(make, how):
    torch.manual_seed(0)
    deep = convert(Net(*make()).eval(), how, accept="planar")
    head = score_head(deep, 4)
    x = torch.randn(5, 1, 6, 8, 8)
    features = head_features(deep, head, x.split(2), "cpu")
    assert features.shape == (5, 6)
    weight = head.weight.flatten(1)
    scores = features @ weight.T + head.bias
    assert scores.allclose(deep(x).flatten(1), atol=1e-5)
    assert not head._forward_pre_hooks


def test_a_network_without_as_many_outputs_is_refused():
    with pytest.raises(RunError, match="no last layer of 7 outputs"):
        score_head(Net(nn.Linear(6, 4), True), 7)
