"""Converted networks are recorded by torch.fx as torch's own are."""

import pytest
import torch
from torch import fx, nn

import lean3d

MIDDLES = {
    "max": nn.MaxPool2d(2),
    "mean": nn.AvgPool2d(3, 1, 1),
    "power": nn.LPPool2d(2, 2),
    "reflect": nn.ReflectionPad2d(1),
    "transposed": nn.ConvTranspose2d(6, 6, 2, 2),
    "shuffle": nn.PixelShuffle(1),
    "unshuffle": nn.PixelUnshuffle(1),
    "bicubic": nn.Upsample(scale_factor=2, mode="bicubic"),
    "padded": nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"),
}


@pytest.mark.parametrize("how", [lean3d.ACS(), lean3d.Inflate()], ids=str)
def test_whatever_a_conversion_makes_is_one_call(how):
    flat = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), *MIDDLES.values(), nn.Conv2d(6, 2, 1))
    deep = lean3d.convert(flat.eval(), how).eval()
    graph = fx.symbolic_trace(deep)
    called = {node.target for node in graph.graph.nodes if node.op == "call_module"}
    assert called == {name for name, _ in deep.named_children()}
    for size in ((4, 8, 8), (9, 12, 10)):
        x = torch.randn(1, 3, *size)
        torch.testing.assert_close(graph(x), deep(x))
