"""Gradients of convolutions that are trained faster are those of torch."""

import copy

import pytest
import torch
from torch import nn

import lean3d
from lean3d.ops.depthwise_gradients import DepthwiseOnCpu, gradients_pay
from lean3d.ops.fast_gradients import (
    DepthwiseConv3d,
    ordinary_,
    with_fast_gradients_,
)

CASES = {
    "same": (5, 2, dict(kernel_size=3, padding=1)),
    "valid": (4, 1, dict(kernel_size=(3, 1, 2))),
    "dilated": (3, 2, dict(kernel_size=3, padding=(2, 0, 1), dilation=(2, 2, 1))),
    "many": (40, 2, dict(kernel_size=3, padding=1, bias=False)),
}


def pair(channels, **arguments):
    """A convolution with fast gradients, and torch's with the same weights."""
    theirs = nn.Conv3d(channels, channels, groups=channels, **arguments)
    return with_fast_gradients_(copy.deepcopy(theirs)), theirs


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_torch(name, last):
    channels, batch, arguments = CASES[name]
    ours, theirs = pair(channels, **arguments)
    x = torch.randn(batch, channels, 5, 6, 7, requires_grad=True)
    given = x.contiguous(memory_format=torch.channels_last_3d) if last else x
    y, expected = ours(given), theirs(given)
    assert "DepthwiseOnCpu" in type(y.grad_fn).__name__
    torch.testing.assert_close(y, expected)
    assert y.stride() == expected.stride()
    weigh = torch.randn_like(expected)
    pairs = [
        torch.autograd.grad((out * weigh).sum(), [x, *op.parameters()])
        for op, out in ((ours, y), (theirs, expected))
    ]
    for found, wanted in zip(*pairs, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


def test_second_gradients_are_those_of_torch():
    x = torch.randn(1, 3, 4, 4, 5, requires_grad=True)
    found = []
    for op in pair(3, kernel_size=3, padding=1):
        (first,) = torch.autograd.grad(op(x).pow(3).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [x, op.weight]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(stride=2),
        dict(padding=3),
        dict(dtype=torch.float64),
        dict(padding="same"),
        dict(padding=1, padding_mode="circular"),
    ],
    ids=str,
)
def test_what_it_does_not_do_is_left_to_torch(arguments):
    ours, theirs = pair(4, **(dict(kernel_size=3) | arguments))
    x = torch.randn(1, 4, 6, 6, 7, dtype=ours.weight.dtype)
    y = ours(x)
    assert "DepthwiseOnCpu" not in type(y.grad_fn).__name__
    torch.testing.assert_close(y, theirs(x))
    torch.testing.assert_close(ours(x[0]), theirs(x[0]))


def test_without_gradients_nothing_is_kept():
    op, _ = pair(4, kernel_size=3)
    x = torch.randn(1, 4, 5, 5, 5)
    triples = (1, 1, 1), (0, 0, 0), (1, 1, 1)
    assert gradients_pay(x, op.weight, *triples)
    with torch.no_grad():
        assert not gradients_pay(x, op.weight, *triples)
    with torch.autocast("cpu", torch.bfloat16):
        assert not gradients_pay(x, op.weight, *triples)
    frozen = op.weight.detach()
    assert not gradients_pay(x, frozen, *triples)
    x.requires_grad_()
    y = DepthwiseOnCpu.apply(x, frozen, None, (0, 0, 0), (1, 1, 1))
    y.sum().backward()
    assert frozen.grad is None


def test_only_such_layers_are_changed_and_they_change_back():
    model = lean3d.create_model("ip_csn_26", num_classes=3, widths=(4, 4, 8, 8))
    kinds = [type(part) for part in model.modules()]
    names = list(model.state_dict())
    with_fast_gradients_(model)
    convs = [part for part in model.modules() if isinstance(part, nn.Conv3d)]
    for part in convs:
        assert (type(part) is DepthwiseConv3d) == (part.groups == part.in_channels > 1)
    assert {DepthwiseConv3d, nn.Conv3d} == {type(part) for part in convs}
    assert list(model.state_dict()) == names
    assert [type(part) for part in ordinary_(model).modules()] == kinds


@pytest.mark.parametrize("mode", ["ip", "ir"])
def test_channel_separated_convolutions_have_fast_gradients_of_their_own(mode):
    op = lean3d.ops.ChannelSeparatedConv3d(4, 4, 3, padding=1, mode=mode)
    y = op(torch.randn(1, 4, 5, 6, 7))
    assert "DepthwiseOnCpu" in type(y.grad_fn).__name__
    assert type(ordinary_(nn.Sequential(op))[0].local) is DepthwiseConv3d
    wide = lean3d.ops.ChannelSeparatedConv3d(4, 4, 3, padding=1, mode=mode, group_width=2)
    assert type(wide.local) is nn.Conv3d
