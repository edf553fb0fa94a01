import time

import pytest
import torch
from torch import nn

from lean3d.cost import Share, count, explain, kinds, layer_shares


class Slow(nn.Module):
    def forward(self, x):
        time.sleep(0.02)
        return x


def net():
    inner = nn.Sequential(nn.Conv3d(2, 4, 3), nn.Conv3d(4, 4, (1, 3, 3), groups=4), Slow())
    return nn.Sequential(inner, nn.MaxPool3d(2), nn.Conv3d(4, 4, 1, groups=2))


def test_the_slowest_layer_comes_first_and_containers_do_not_take_their_childrens_time():
    model, x = net(), torch.randn(1, 2, 6, 8, 8)
    shares = layer_shares(model, x, rounds=2)
    assert (shares[0].name, shares[0].kind) == ("0.2", "Slow")
    times = {share.name: share.ms for share in shares}
    assert times["0.2"] >= 20 > times["0"] + times[""]


def test_a_share_has_the_work_that_is_counted():
    model, x = net(), torch.randn(1, 2, 6, 8, 8)
    layers = {layer.path: layer for layer in count(model, x.shape).layers}
    for share in layer_shares(model, x, rounds=1):
        layer = layers[share.name]
        assert (share.macs, share.moved_bytes) == (layer.macs, layer.moved_bytes)
        assert share.macs_per_byte == layer.macs_per_byte


def test_a_kind_is_a_type_with_its_kernel_and_groups():
    shares = layer_shares(net(), torch.randn(1, 2, 6, 8, 8), rounds=1)
    assert {share.kind for share in shares} == {
        "calls in Sequential",
        "Conv3d 3x3x3",
        "Conv3d 1x3x3 depthwise",
        "Slow",
        "MaxPool3d 2",
        "Conv3d 1x1x1 2 groups",
    }


def test_kinds_sum_their_layers():
    a, b, c = (Share(n, k, 1.0, 10, 5) for n, k in (("x", "p"), ("y", "q"), ("z", "q")))
    assert kinds([a, b, c]) == [Share("2 x q", "q", 2.0, 20, 10), Share("1 x p", "p", 1.0, 10, 5)]


def test_clocks_are_taken_off_again():
    model = net()
    layer_shares(model, torch.randn(1, 2, 6, 8, 8), rounds=1)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


DENSE = [Share("a", "Conv3d 3x3x3", 100.0, 100_000, 1000)]
LEAN = [
    Share("a", "Conv3d 1x1x1", 20.0, 20_000, 1000),
    Share("b", "Conv3d 3x3x3 depthwise", 60.0, 1_000, 1000),
    Share("c", "ReLU", 20.0, 0, 500),
]


def test_saved_macs_that_are_not_saved_time_are_explained_by_what_is_slow():
    why = explain("lean", LEAN, "dense", DENSE, 1.0)
    assert "lean does 0.21 of the MACs of dense in 1.00 of its time" in why
    # 1,000 MACs take one of the 60 ms at the dense network's rate
    assert "goes to Conv3d 3x3x3 depthwise (59% of its time, 1.0 MACs per byte), ReLU (20%" in why
    assert "8.4 MACs for each byte it moves, dense 100.0: memory sets more of its time" in why


@pytest.mark.parametrize(("ratio", "follows"), [(0.22, True), (0.5, False)])
def test_time_that_follows_the_macs_needs_no_reason(ratio, follows):
    why = explain("lean", LEAN, "dense", DENSE, ratio)
    assert why.endswith("time follows the MACs.") == follows
