"""convert(model3d, ParallelSeparable(m, n)): n consecutive convolutions become one operator."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d import ConversionError, ParallelSeparable, convert
from lean3d.ops import ParallelSeparableConv3d


def normed(ins, outs, stride=1):
    conv = nn.Conv3d(ins, outs, 3, stride, 1, bias=False)
    return [conv, nn.BatchNorm3d(outs), nn.ReLU()]


def trained(model, x):
    """Batch norms that have seen their inputs."""
    torch.manual_seed(0)
    for _ in range(20):
        model.train()(torch.randn_like(x))
    return model.eval()


def volume(channels=2, size=(8, 12, 12)):
    return torch.randn(4, channels, *size, generator=torch.Generator().manual_seed(1))


def operators(model):
    found = [(p, m) for p, m in model.named_modules() if isinstance(m, ParallelSeparableConv3d)]
    return {path: m.depth for path, m in found}


@torch.no_grad()
def chain(*extra):
    torch.manual_seed(0)
    return trained(nn.Sequential(*normed(2, 8), *extra, *normed(8, 8)), volume())


def test_two_convolutions_become_one_operator_and_what_stood_between_goes():
    lean = convert(chain(), ParallelSeparable(2, 2), example=volume())
    kinds = [type(module).__name__ for module in lean]
    assert kinds == ["Identity"] * 3 + ["ParallelSeparableConv3d", "BatchNorm3d", "ReLU"]
    assert (lean[3].in_channels, lean[3].out_channels, lean[3].depth) == (2, 8, 2)
    assert lean(volume()).shape == (4, 8, 8, 12, 12)
    rows = {row.path: row.after for row in lean.conversion.rows}
    assert rows.keys() == {"0", "1", "2", "3"}
    assert rows["1"] == "Identity"


@pytest.mark.parametrize("extra", [nn.MaxPool3d(2), nn.Upsample(scale_factor=2)], ids=type)
def test_a_pool_in_between_ends_a_run(extra):
    assert operators(convert(chain(extra), ParallelSeparable(1, 2), example=volume())) == {
        "0": 1,
        "4": 1,
    }


class Branched(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)

    def forward(self, x):
        y = self.a(x)
        return y + self.b(y)


class Functional(Branched):
    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


@pytest.mark.parametrize("kind", [Branched, Functional])
def test_a_branch_or_a_function_in_between_ends_a_run(kind):
    lean = convert(kind().eval(), ParallelSeparable(1, 2), example=volume())
    assert operators(lean) == {"a": 1, "b": 1}


def test_a_run_is_cut_into_pieces_of_n_and_the_rest():
    torch.manual_seed(0)
    layers = [layer for _ in range(5) for layer in normed(4, 4)]
    model = trained(nn.Sequential(*layers), volume(4))
    assert operators(convert(model, ParallelSeparable(1, 2), example=volume(4))) == {
        "3": 2,
        "9": 2,
        "12": 1,
    }
    assert operators(convert(model, ParallelSeparable(1, 3), example=volume(4))) == {
        "6": 3,
        "12": 2,
    }


def test_the_blocks_of_a_residual_network_and_of_a_unet_are_runs():
    net = lean3d.create_model("resnet3d_18", widths=(4, 4, 8, 8)).eval()
    found = operators(convert(net, ParallelSeparable(2, 2), example=volume(3, (8, 32, 32))))
    assert found.pop("stem.0") == 1
    assert set(found.values()) == {2}
    assert len(found) == 8
    unet = lean3d.create_model("unet3d", widths=(4, 8)).eval()
    assert set(operators(convert(unet, ParallelSeparable(1, 2))).values()) == {2}


def test_more_filters_bring_the_operator_nearer_to_what_the_run_computes():
    model, errors = chain(), []
    for filters in (4, 16, 48):
        how = ParallelSeparable(1, 2, filters=filters)
        lean = convert(model, how, example=volume(2, (16, 20, 20)))
        row = next(row for row in lean.conversion.rows if row.path == "3")
        errors.append(row.exact)
        x = torch.randn(2, 2, 8, 12, 12)
        wanted = model[:4](x)
        apart = (lean[:4](x) - wanted).norm() / (wanted - wanted.mean((0, 2, 3, 4), True)).norm()
        # what was measured on one half of the example holds elsewhere
        assert float(apart.detach()) == pytest.approx(row.exact, rel=0.2)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9


def test_runs_need_an_example():
    picky = nn.Sequential(nn.Conv3d(2, 4, 3), nn.Flatten(), nn.Linear(77, 2))
    with pytest.raises(ConversionError, match="joins consecutive convolutions"):
        convert(picky, ParallelSeparable(1, 2))


def deep():
    """Two runs of two, and a convolution of its own behind a pool."""
    torch.manual_seed(0)
    layers = [*normed(2, 8), *normed(8, 8), nn.MaxPool3d(2), *normed(8, 16), *normed(16, 16)]
    return trained(nn.Sequential(*layers, nn.MaxPool3d(2), *normed(16, 16)), volume())


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_runs_meet_a_budget_too(share):
    model, x = deep(), volume()
    lean = convert(model, ParallelSeparable(2, 2), example=x, budget=share)
    spent = lean3d.count(lean, x.shape).macs / lean3d.count(model, x.shape).macs
    assert share - 0.25 < spent <= share
    assert 2 in operators(lean).values()


def test_a_larger_budget_leaves_runs_a_smaller_error():
    def total(share):
        lean = convert(deep(), ParallelSeparable(2, 2), example=volume(), budget=share)
        return sum(row.exact**2 for row in lean.conversion.rows)

    errors = [total(share) for share in (0.2, 0.5, 1)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


def test_a_budget_below_the_leanest_runs_is_refused_with_the_least_there_is():
    with pytest.raises(ConversionError, match=r"costs at least [\d,]+ of its [\d,]+ multiply-adds"):
        convert(deep(), ParallelSeparable(2, 2), example=volume(), budget=0.001)
