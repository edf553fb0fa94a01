"""Blocks that are computed again in the backward pass, and heads in single precision."""

import copy

import pytest
import torch
from torch import nn

import lean3d
from lean3d import ACS, PlaneCycle
from lean3d.ops import ACSConv3d, ParallelSeparableConv3d
from lean3d.tasks.in_training import (
    blocks_of,
    full_precision_head_,
    recompute_blocks_,
    restore_,
)


class Scaled(nn.Module):
    """A block whose forward computes with sizes, so that its depth is merged."""

    def __init__(self, channels, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.gate = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        y = self.norm(self.conv(x)).relu()
        return y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()


def flat():
    torch.manual_seed(0)
    blocks = nn.Sequential(Scaled(4), nn.Dropout(0.2), Scaled(4, 2))
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), blocks, nn.AdaptiveAvgPool2d(1))


def unet():
    conv = ParallelSeparableConv3d
    return lean3d.create_model("unet3d", conv=conv, widths=(4, 8), num_classes=2, in_channels=3)


NETWORKS = {
    "U-Net": (unet, 3),
    "CSN": (lambda: lean3d.create_model("ir_csn_26", num_classes=3, widths=(4, 4, 8, 8)), 8),
    "D-ResNet": (lambda: lean3d.create_model("d_resnet_18", num_classes=3, widths=(4, 4, 8, 8)), 8),
    "ACS": (lambda: lean3d.convert(flat().eval(), ACS()), 2),
    "PlaneCycle": (lambda: lean3d.convert(flat().eval(), PlaneCycle()), 2),
}


def learn(model, x):
    """Gradients, statistics and the bytes kept for the backward pass."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.nbytes) or t, lambda t: t
    ):
        torch.manual_seed(1)
        y = model(x)
        y.square().mean().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return y.detach(), grads, dict(model.named_buffers()), sum(kept)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_that_of_the_network_and_keeps_less(name):
    make, blocks = NETWORKS[name]
    torch.manual_seed(0)
    plain = make().train()
    other = copy.deepcopy(plain)
    kinds = [type(module) for module in other.modules()]
    changed = recompute_blocks_(other)
    assert len(changed) == blocks
    x = torch.randn(2, 3, 8, 16, 16)
    (y, grads, buffers, kept), (again, others, same, less) = learn(plain, x), learn(other, x)
    torch.testing.assert_close(again, y)
    assert grads.keys() == others.keys()
    for key in grads:
        torch.testing.assert_close(others[key], grads[key])
    for key in buffers:
        torch.testing.assert_close(same[key], buffers[key])
    assert less < 0.8 * kept
    assert list(other.state_dict()) == list(plain.state_dict())
    restore_(changed)
    assert [type(module) for module in other.modules()] == kinds


def test_blocks_are_the_innermost_entries_with_several_layers():
    assert list(blocks_of(unet())) == ["encoder.0", "encoder.1", "decoder.0"]
    assert list(blocks_of(flat())) == ["1.0", "1.2"]
    alone = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), ACSConv3d(2, 2, 3))
    with pytest.raises(lean3d.RunError, match="Sequential has none; train without"):
        recompute_blocks_(alone)


def test_a_copy_of_a_network_in_training_recomputes_its_own_blocks():
    model = lean3d.create_model("ir_csn_26", num_classes=3, widths=(4, 4, 8, 8))
    recompute_blocks_(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert other(torch.randn(2, 3, 8, 16, 16)).abs().max() == 0


def test_the_head_is_in_single_precision_under_autocast():
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Flatten(), nn.Linear(4, 3))
    kinds = [type(module) for module in model]
    changed = full_precision_head_(model)
    x = torch.randn(2, 1, 3, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert model[0](x).dtype == torch.bfloat16
        assert model(x).dtype == torch.float32
    restore_(changed)
    assert [type(module) for module in model] == kinds
