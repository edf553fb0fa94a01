"""CondConv: every sample is convolved with the 3D form of its own kernel."""

import copy
import pickle

import pytest
import torch
from torch import nn
from zoo import timm

from lean3d.conversion import ACS, Inflate, MeanACS, Planar, SoftACS, convert

CondConv2d = timm.layers.cond_conv2d.CondConv2d
HOWS = [ACS(), MeanACS(), SoftACS(), Planar(), Inflate(), Inflate(pad="zeros")]


class Routed(nn.Module):
    def __init__(self, padding, stride):
        super().__init__()
        settings = dict(bias=True, num_experts=3, padding=padding, stride=stride)
        self.conv = CondConv2d(6, 6, 3, groups=2, **settings)
        nn.init.normal_(self.conv.bias)

    def forward(self, x):
        return self.conv(x, x.mean((2, 3))[:, :3].sigmoid())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("how", HOWS, ids=str)
def test_every_sample_has_the_3d_form_of_its_own_kernel(how, stride):
    torch.manual_seed(0)
    flat, x = Routed("", stride), torch.randn(3, 6, 5, 6, 7)
    deep = convert(flat, how)
    routing = x.mean((2, 3, 4))[:, :3].sigmoid()
    for sample, found, shares in zip(x, deep(x), routing, strict=True):
        one = nn.Conv2d(6, 6, 3, stride, 1, groups=2)
        one.weight = nn.Parameter((shares @ flat.conv.weight).view(6, 3, 3, 3))
        one.bias = nn.Parameter(shares @ flat.conv.bias)
        torch.testing.assert_close(found, convert(one, how)(sample[None])[0])


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_padding_made_for_a_size_is_proven(how):
    deep = convert(Routed("same", 2), how, accept="planar")
    assert deep.conversion.grade == "isotropic"
    assert deep(torch.randn(2, 6, 4, 7, 8)).shape == (2, 6, 2, 4, 4)


@pytest.mark.parametrize("how", [SoftACS(), Inflate()], ids=str)
def test_it_is_copied_stored_and_trained(how):
    deep, x = convert(Routed("same", 2), how), torch.randn(2, 6, 4, 7, 8)
    for other in (copy.deepcopy(deep), pickle.loads(pickle.dumps(deep))):
        assert torch.equal(other(x), deep(x))
    deep(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in deep.parameters())
