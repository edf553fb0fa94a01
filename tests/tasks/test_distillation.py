"""A teacher besides the labels."""

import pytest
import torch
from torch import nn

from lean3d.errors import RunError
from lean3d.tasks.classification import Classification
from lean3d.tasks.distillation import _distance, distil


class Net(nn.Module):
    def __init__(self, seed, width=4):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv3d(1, width, 3, padding=1)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.conv(x).relu_().mean((2, 3, 4)))


def step(task, batch):
    logged = {}
    task.log = lambda name, value, **_: logged.__setitem__(
        name, float(torch.as_tensor(value).detach())
    )
    loss = task.training_step(batch, 0)
    return loss, logged


@pytest.fixture
def batch():
    torch.manual_seed(5)
    return torch.randn(4, 1, 4, 6, 6), torch.tensor([0, 1, 2, 0])


def test_the_loss_is_the_tasks_and_the_distances(batch):
    model, teacher = Net(0), Net(1).eval()
    alone, _ = step(Classification(model, 3), batch)
    task = distil(Classification(model, 3), teacher, ["conv"], 0.5)
    loss, logged = step(task, batch)
    with torch.no_grad():
        parts = [
            (found - wanted).square().mean() / wanted.var()
            for found, wanted in [
                (model(batch[0]), teacher(batch[0])),
                (model.conv(batch[0]), teacher.conv(batch[0])),
            ]
        ]
    assert loss.item() == pytest.approx(alone.item() + 0.5 * float(sum(parts)), rel=1e-5)
    assert logged["train_distillation"] == pytest.approx(float(sum(parts)), rel=1e-5)


def test_a_block_of_fewer_channels_is_compared_by_its_nearest_affine_map(batch):
    model, teacher = Net(0, width=2), Net(1).eval()
    model.conv.bias.data += 3
    _, logged = step(distil(Classification(model, 3), teacher, ["conv"], 1.0), batch)
    with torch.no_grad():
        rows, wanted = (
            net.conv(batch[0]).movedim(1, -1).flatten(0, -2).double() for net in (model, teacher)
        )
        rows = torch.cat([rows, torch.ones(len(rows), 1).double()], 1)
        missed = rows @ torch.linalg.lstsq(rows, wanted).solution - wanted
        block = missed.square().mean() / wanted.var()
        found, own = teacher(batch[0]), model(batch[0])
        whole = (own - found).square().mean() / found.var()
    assert 0.1 < block < 0.9
    assert logged["train_distillation"] == pytest.approx(float(whole + block), rel=1e-3)


def test_a_narrower_block_learns_what_the_teachers_block_spans(batch):
    model, teacher = Net(0, width=2), Net(1).eval()
    with torch.no_grad():
        # its other two channels are mixtures of these
        mixed = torch.tensor([[1.0, 2.0], [-1.0, 1.0]])
        teacher.conv.weight[2:] = torch.einsum("oi,icdhw->ocdhw", mixed, teacher.conv.weight[:2])
    task = distil(Classification(model, 3), teacher, ["conv"], 10.0)
    optimizer = torch.optim.Adam(model.conv.parameters(), 0.05)
    lost = []
    for _ in range(150):
        optimizer.zero_grad()
        step(task, batch)[0].backward()
        optimizer.step()
        lost.append(float(_distance(model.conv(batch[0]).detach(), teacher.conv(batch[0]))))
    assert lost[-1] < 0.1 * lost[0]


def test_the_teacher_is_no_part_of_the_weights_and_learns_nothing(batch):
    model, teacher = Net(0), Net(1)
    task = distil(Classification(model, 3), teacher, [], 1.0)
    assert task.state_dict().keys() == Classification(Net(0), 3).state_dict().keys()
    assert not teacher.training
    step(task, batch)[0].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in model.parameters())


def test_an_equal_teacher_adds_nothing(batch):
    alone, _ = step(Classification(Net(0), 3), batch)
    loss, _ = step(distil(Classification(Net(0), 3), Net(0), ["conv"], 1.0), batch)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("blocks", "weight", "why"), [(["neck"], 1, "neck"), ([], -1, "0 or more")]
)
def test_bad_teachers_are_refused(blocks, weight, why):
    with pytest.raises(RunError, match=why):
        distil(Classification(Net(0), 3), Net(1), blocks, weight)
