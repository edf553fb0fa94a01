"""convert(..., budget=): the ranks that meet a budget of MACs at the least total error."""

from itertools import product

import pytest
import torch
from torch import nn

from lean3d import (
    Atoms,
    ChannelSeparated,
    ConversionError,
    ParallelSeparable,
    SpaceTime,
    convert,
    count,
)
from lean3d.conversion.lean.budget import Option, choose_options

SHAPE = (1, 2, 8, 12, 12)
HOWS = [
    SpaceTime("rank1"),
    SpaceTime(),
    ParallelSeparable(2, relu=False),
    ParallelSeparable(2, relu=False, join="sum"),
    ChannelSeparated(),
    Atoms(),
]


def net(redundant=()):
    torch.manual_seed(0)
    layers = [nn.Conv3d(2, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, 16, 3, 2, 1), nn.ReLU()]
    layers += [nn.Conv3d(16, 32, 3, padding=1), nn.Flatten(2)]
    model = nn.Sequential(*layers).eval()
    for index in redundant:
        kernel = model[index].weight.data
        kernel[:, :, 0] = kernel[:, :, 2] = kernel[:, :, 1]
    return model


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_the_budget_is_met_and_most_of_it_is_used(how):
    model, share = net(), 0.5
    lean = convert(model, how, example=torch.randn(SHAPE), budget=share)
    spent = count(lean, SHAPE).macs / count(model, SHAPE).macs
    assert share - 0.15 < spent <= share


def test_a_budget_can_be_a_number_of_macs():
    model = net()
    macs = count(model, SHAPE).macs
    half = convert(model, SpaceTime("rank1"), example=torch.randn(SHAPE), budget=macs // 2)
    same = convert(model, SpaceTime("rank1"), example=torch.randn(SHAPE), budget=0.5)
    assert half.conversion.rows == same.conversion.rows


def test_a_larger_budget_leaves_a_smaller_error():
    def total(share):
        lean = convert(net(), SpaceTime("rank1"), example=torch.randn(SHAPE), budget=share)
        return sum(row.exact**2 for row in lean.conversion.rows)

    errors = [total(share) for share in (0.3, 0.6, 1)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


def test_the_redundant_layer_is_cut_and_the_others_stay_dense():
    lean = convert(net(redundant=(4,)), SpaceTime("rank1"), example=torch.randn(SHAPE), budget=0.8)
    assert [(row.path, row.exact < 1e-6) for row in lean.conversion.rows] == [("4", True)]


def test_no_other_choice_within_the_budget_has_a_smaller_error():
    generator = torch.Generator().manual_seed(0)

    def option():
        macs = int(torch.randint(10, 100, (), generator=generator))
        return Option(None, macs, float(torch.rand((), generator=generator)))

    layers = [[option() for _ in range(5)] for _ in range(4)]
    for room in (100, 150, 250, 400):
        fits = [c for c in product(*layers) if sum(o.macs for o in c) <= room]
        if not fits:
            continue
        chosen = choose_options(layers, room)
        assert sum(o.macs for o in chosen) <= room
        best = min(sum(o.error for o in c) for c in fits)
        assert sum(o.error for o in chosen) == pytest.approx(best)


def test_where_no_bin_is_left_the_leanest_is_taken():
    tight = [[Option(None, 3, 1.0), Option(None, 5, 0.0)] for _ in range(3)]
    assert [o.macs for o in choose_options(tight, 9)] == [3, 3, 3]


def test_a_budget_that_cannot_be_met_says_the_least_there_is():
    with pytest.raises(ConversionError, match=r"costs at least [\d,]+ of its [\d,]+ multiply-adds"):
        convert(net(), SpaceTime("rank1"), example=torch.randn(SHAPE), budget=0.001)


def test_a_budget_needs_an_example_where_none_runs():
    picky = nn.Sequential(nn.Conv3d(2, 4, 3), nn.Flatten(), nn.Linear(77, 2))
    with pytest.raises(ConversionError, match="budget= needs example="):
        convert(picky, SpaceTime(), budget=0.5)
