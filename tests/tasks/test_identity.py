"""Losses and scores of persons worked out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d.errors import RunError, ShapeError
from lean3d.tasks.identity import Identity, hard_triplets


def test_hard_triplets_worked_out_by_hand():
    # on a line: person 0 at 0 and 1, person 1 at 1.5 and 4
    vectors, persons = torch.tensor([[0.0], [1.0], [1.5], [4.0]]), torch.tensor([0, 0, 1, 1])
    # farthest same less nearest other: 1 - 1.5, 1 - 0.5, 2.5 - 0.5, 2.5 - 3
    wanted = (0 + (0.5 + 0.3) + (2.0 + 0.3) + 0) / 4
    assert hard_triplets(vectors, persons, 0.3).item() == pytest.approx(wanted, abs=1e-5)


def test_hard_triplets_against_every_pair():
    torch.manual_seed(0)
    vectors, persons = torch.randn(12, 5), torch.arange(3).repeat_interleave(4)
    apart = torch.cdist(vectors, vectors)
    same = persons[:, None] == persons
    far, near = apart.where(same, -torch.inf).amax(1), apart.where(~same, torch.inf).amin(1)
    wanted = F.relu(far - near + 0.5).mean()
    torch.testing.assert_close(hard_triplets(vectors, persons, 0.5), wanted)


def test_persons_without_a_second_clip_have_no_triplet():
    assert hard_triplets(torch.randn(3, 4), torch.tensor([0, 1, 2]), 0.3).item() == 0


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x.mean((2, 3, 4))


def logged(task, batch):
    found = {}
    task.log = lambda name, value, **more: found.__setitem__(name, torch.as_tensor(value).item())
    return task.training_step(batch, 0), found


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_loss_is_cross_entropy_and_the_weighted_triplets(weight):
    torch.manual_seed(0)
    task = Identity(Mean(), 3, 2, triplet=weight, margin=0.1)
    x, label = (
        torch.randn(4, 3, 2, 4, 4),
        torch.tensor([[0, 0, 0], [0, 1, 1], [1, 0, 2], [1, 1, 3]]),
    )
    loss, found = logged(task, (x, label))
    entropy = F.cross_entropy(task.classifier(x.mean((2, 3, 4))), label[:, 0])
    wanted = entropy + weight * hard_triplets(x.mean((2, 3, 4)), label[:, 0], 0.1)
    torch.testing.assert_close(loss, wanted)
    assert found["train_loss"] == pytest.approx(wanted.item())
    assert ("train_triplet" in found) == bool(weight)


def test_the_layer_that_names_the_persons_learns_too():
    names = [name for name, _ in Identity(Mean(), 3, 2).learnt()]
    assert names == ["scale", "classifier.weight", "classifier.bias"]


def test_a_search_among_the_validation_videos():
    task, found = Identity(Mean(), 1, 2, normalise=False), {}
    task.log = lambda name, value, **more: found.__setitem__(name, torch.as_tensor(value).item())
    task.on_validation_epoch_start()
    # person 0 at 0 (camera 0), 0.1 (camera 0), 2 (camera 1); person 1 at 1 (0) and 3 (1)
    label = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 0, 3], [1, 1, 4]])
    values = torch.tensor([0.0, 0.1, 2.0, 1.0, 3.0])
    x = values.view(5, 1, 1, 1, 1).expand(5, 1, 2, 4, 4)
    task.validation_step((x[:2], label[:2]), 0)
    task.validation_step((x[2:], label[2:]), 1)
    # a batch that two processes computed counts once
    task.validation_step((x[2:], label[2:]), 2)
    task.on_validation_epoch_end()
    # first right ones: 0 at rank 2 (after 1), 0.1 at 2 (after 1), 2: after 1 and 3 -> 3, 1: 4, 3: 2
    # 0: 1, [2], 3; 0.1: 1, [2], 3; 2: 1, 3, [0.1], [0]; 1: 0.1, 0, 2, [3]; 3: 2, [1]
    first = [2, 2, 3, 4, 2]
    half = [(0 + 1 / 2) / 2, (0 + 1 / 2) / 2, ((0 + 1 / 3) / 2 + (1 / 3 + 2 / 4) / 2) / 2]
    half += [(0 + 1 / 4) / 2, (0 + 1 / 2) / 2]
    assert found["val_rank1"] == sum(f == 1 for f in first) / 5 == 0
    assert found["val_rank5"] == 1
    assert found["val_map"] == pytest.approx(sum(half) / 5, abs=1e-5)
    assert found["val_loss"] > 0


def test_an_output_that_is_no_vector_is_refused():
    with pytest.raises(ShapeError, match=r"\(B, E\) = \(2, 4\), got \(2, 3\).*head=embedding"):
        logged(Identity(Mean(), 4, 2), (torch.randn(2, 3, 1, 4, 4), torch.zeros(2, 2).long()))
    with pytest.raises(RunError, match="two persons or more, got 1"):
        Identity(Mean(), 4, 1)
