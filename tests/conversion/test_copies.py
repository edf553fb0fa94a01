"""Scratch copies share nothing with the model, and what is done to one for a while is undone."""

import torch
from flat_models import ResNet
from torch import nn

from lean3d.conversion import Inflate
from lean3d.conversion.surgery.copies import (
    duplicate,
    for_a_while,
    precise_copy,
    without_memory,
)
from lean3d.conversion.to3d.engine import Plan, rewrite
from lean3d.conversion.trace.trial_run import run_lightly


def test_a_rewriting_for_a_while_leaves_nothing_behind():
    model = ResNet().eval()
    x, seen = torch.randn(2, 3, 33, 37), []
    model.stem.register_forward_hook(lambda module, x, y: seen.append(y.shape))
    before = model(x), model.state_dict().keys(), str(model)
    with for_a_while(model):
        rewrite(model, Plan(Inflate()), constant_axis=0)
        assert model.stem.weight.ndim == 5
    assert torch.equal(model(x), before[0])
    assert (model.state_dict().keys(), str(model)) == before[1:]
    assert len(seen) == 2


def test_a_hook_removed_after_a_while_is_gone():
    conv = nn.Conv2d(1, 1, 1)
    handle = conv.register_forward_hook(lambda module, x, y: 0)
    with for_a_while(conv):
        conv.register_forward_hook(lambda module, x, y: 1)
        assert conv(torch.zeros(1, 1, 1, 1)) == 1
    assert conv(torch.zeros(1, 1, 1, 1)) == 0
    handle.remove()
    assert isinstance(conv(torch.zeros(1, 1, 1, 1)), torch.Tensor)


def test_a_precise_copy_keeps_ties_and_shares_no_memory():
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)).double()
    model[2].weight = model[0].weight
    copy = precise_copy(model, torch.float64)
    assert copy[0].weight is copy[2].weight
    own = {x.data_ptr() for x in model.state_dict().values()}
    assert own.isdisjoint(x.data_ptr() for x in copy.state_dict().values())
    assert copy[1].num_batches_tracked.dtype == torch.int64


class Supervised(nn.Module):
    """Keeps what its heads gave, as MONAI's DynUNet does."""

    def __init__(self):
        super().__init__()
        self.conv, self.heads, self.last = nn.Conv2d(1, 1, 1), [torch.rand(1)], {}

    def forward(self, x):
        self.heads[0] = self.conv(x)
        self.last["head"] = [self.heads[0] + 1]
        return self.heads[0]


def test_a_network_that_keeps_its_outputs_can_be_copied():
    model = Supervised()
    x = torch.randn(2, 1, 3, 3)
    y = model(x)
    copy = duplicate(model)
    assert torch.equal(copy.heads[0], y)
    assert torch.equal(copy.last["head"][0], y + 1)
    assert not copy.heads[0].requires_grad
    assert model.heads[0] is y
    assert torch.equal(copy(x), y)


class Busy(nn.Module):
    """Functions of single values of every kind, and norms by function."""

    def forward(self, x):
        y = x.permute(0, 2, 3, 1)
        seen = [x.relu() * 2 + x[:, :1], (y.sigmoid_() + 1).transpose(1, 2), x[:, 0].exp()]
        seen += [x.clamp(0, 1), 1 - x, x.where(x > 0, x.new_zeros(1)), (x > 1).float()]
        seen += [nn.functional.batch_norm(x, x.new_zeros(4), x.new_ones(4))]
        seen += [nn.functional.group_norm(x, 2), nn.functional.layer_norm(y, (4,))]
        return [*seen, nn.functional.hardtanh_(x, -1, 1)]


def test_sizes_alone_are_those_of_values():
    x = torch.randn(2, 4, 5, 7)
    model = nn.ModuleDict({"busy": Busy(), "conv": nn.Conv2d(1, 1, 1)})
    model.forward = model["busy"].forward
    light = without_memory(model)
    light.forward = light["busy"].forward
    expected, found = run_lightly(model, (x,)), run_lightly(light, (x,))
    assert all(y.is_meta for y in found)
    facts = [[(y.shape, y.stride(), y.dtype) for y in each] for each in (expected, found)]
    assert facts[0] == facts[1]
