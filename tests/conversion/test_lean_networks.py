"""What convert() promises when it makes a 3D network lean."""

import copy
import pickle

import pytest
import torch
from flat_models import ResNet as FlatResNet
from torch import nn

import lean3d
from lean3d import Atoms, ChannelSeparated, ConversionError, ParallelSeparable, SpaceTime, convert
from lean3d.networks.operators import conversion

EXACT = [SpaceTime(mid_channels="full"), ParallelSeparable(3, filters="full"), Atoms(9, 3)]
HOWS = [SpaceTime(), ParallelSeparable(2), ChannelSeparated(), Atoms(4, 2)]


class Block(nn.Module):
    def __init__(self, ins, outs, stride=1):
        super().__init__()
        self.conv1 = nn.Conv3d(ins, outs, 3, stride, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm3d(outs), nn.BatchNorm3d(outs)
        self.conv2 = nn.Conv3d(outs, outs, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.short = nn.Conv3d(ins, outs, 1, stride)

    def forward(self, x):
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self.short(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(2, 8, 3, padding=1)
        self.body = nn.Sequential(Block(8, 8), Block(8, 16, 2), nn.MaxPool3d(2))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3, 4)))


def net():
    torch.manual_seed(0)
    return Net().eval()


def volume(batch=2):
    return torch.randn(batch, 2, 8, 12, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("how", EXACT, ids=str)
@pytest.mark.parametrize(
    "make", [net, lambda: lean3d.create_model("unet3d", widths=(8, 12)).eval()]
)
def test_at_full_rank_the_network_gives_its_own_answer(make, how):
    model = make()
    lean = convert(model, how)
    x = volume() if isinstance(model, Net) else volume()[:, :1]
    torch.testing.assert_close(lean(x), model(x), atol=1e-4, rtol=1e-4)
    assert all(row.exact < 1e-6 for row in lean.conversion.rows)


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_the_record_says_what_became_what_and_how_far_off_it_is(how):
    model = net()
    lean = convert(model, how)
    dense = {p for p, m in model.named_modules() if isinstance(m, nn.Conv3d)}
    points = {"body.0.short", "body.1.short"}
    stem = {"stem"} if isinstance(how, ChannelSeparated) else set()
    assert {row.path for row in lean.conversion.rows} == dense - points - stem
    assert lean.conversion.grade == "fitted"
    for row in lean.conversion.rows:
        assert row.exact == lean3d.decompose(model.get_submodule(row.path), how)[1]
        assert row.after.startswith(type(lean.get_submodule(row.path)).__name__)
    assert [check.passed for check in lean.conversion.checks] == [True]
    assert "differs by" in str(lean.conversion)


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_the_model_stays_as_it_was(how):
    model = net().train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    convert(model, how)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_flags_dtype_and_what_is_not_cut_stay(how):
    model = net().double().train()
    model.body[0].conv1.weight.requires_grad_(False)
    model.body[1].eval()
    lean = convert(model, how)
    assert {p.dtype for p in lean.parameters()} == {torch.float64}
    assert all(module.training != ("body.1" in path) for path, module in lean.named_modules())
    frozen = {
        path.rsplit(".conv1")[0] for path, p in lean.named_parameters() if not p.requires_grad
    }
    assert frozen == {"body.0"}
    for name in ("body.0.norm1.weight", "body.1.short.weight", "head.bias"):
        assert torch.equal(lean.get_parameter(name), model.get_parameter(name))


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_a_lean_network_survives_deepcopy_pickle_and_a_state_dict(how):
    lean, other = convert(net(), how), convert(net(), how)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(lean.state_dict())
    for twin in (copy.deepcopy(lean), pickle.loads(pickle.dumps(lean)), other):
        torch.testing.assert_close(twin(volume()), lean(volume()))


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_every_parameter_of_a_lean_network_gets_a_gradient(how):
    lean = convert(net(), how).train()
    lean(volume()).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in lean.parameters())


def test_a_given_example_makes_the_norms_in_between_the_identity_in_train_mode_too():
    torch.manual_seed(0)
    layers = [nn.Conv3d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 8, 3, padding=1)]
    model, x = nn.Sequential(*layers).eval(), 5 + 3 * volume(4)
    how = SpaceTime(mid_channels="full")
    apart = [
        float((convert(model, how, example=given).train()(x) - model(x)).detach().abs().max())
        for given in (x, None)
    ]
    assert apart[0] < 1e-4 < apart[1]


def test_a_module_used_twice_stays_one_and_hooks_stay():
    model = net()
    model.body[0].conv2 = model.body[0].conv1
    calls = []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    lean = convert(model, SpaceTime())
    assert lean.body[0].conv2 is lean.body[0].conv1
    calls.clear()
    lean(volume())
    assert calls == [1]


def test_tied_weights_stay_tied_or_the_conversion_is_refused():
    model = net()
    model.body[0].conv2.weight = model.body[0].conv1.weight
    lean = convert(model, SpaceTime())
    assert lean.body[0].conv1.spatial.weight is lean.body[0].conv2.spatial.weight
    with pytest.raises(ConversionError, match="are one parameter"):
        convert(model, SpaceTime(), where=lambda path, module: path != "body.0.conv2")


def test_where_chooses_what_is_cut():
    lean = convert(net(), SpaceTime(), where=lambda path, module: path.startswith("body.1"))
    assert [row.path for row in lean.conversion.rows] == ["body.1.conv1", "body.1.conv2"]


def test_the_first_convolution_is_separated_only_when_asked():
    rows = convert(net(), ChannelSeparated(stem=True)).conversion.rows
    assert rows[0].path == "stem"


def test_what_was_inflated_from_2d_can_be_made_lean():
    torch.manual_seed(0)
    model = convert(FlatResNet().eval(), lean3d.Inflate())
    channels = next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv3d))
    x = torch.randn(1, channels, 6, 32, 32)
    lean = convert(model, SpaceTime("rank1"))
    # every inflated kernel repeats one 2D kernel, so one channel for each output is enough
    assert max(row.exact for row in lean.conversion.rows) < 1e-6
    torch.testing.assert_close(lean(x), model(x), atol=1e-4, rtol=1e-4)


def test_depthwise_kernels_are_left_alone_by_more_streams_than_they_have_outputs():
    model = nn.Sequential(nn.Conv3d(4, 4, 3, groups=4), nn.Conv3d(4, 4, 3)).eval()
    paths = [row.path for row in convert(model, ParallelSeparable(2)).conversion.rows]
    assert paths == ["1"]
    assert len(convert(model, ParallelSeparable(2, join="sum")).conversion.rows) == 2


def test_a_model_without_values_gets_the_shapes():
    with torch.device("meta"):
        model = Net().eval()
    lean = convert(model, SpaceTime())
    assert lean(volume().to("meta")).shape == (2, 5)
    assert "meta device" in str(lean.conversion)


class Own(nn.Conv3d):
    def forward(self, x):
        return super().forward(x) * 2


class Reader(Net):
    """Reads the weight of a convolution itself."""

    def forward(self, x):
        gain = getattr(self.stem, "weight", torch.ones(1)).abs().mean()
        return super().forward(x) * gain


def with_own(model):
    model.body[0].conv1 = Own(8, 8, 3, padding=1)
    return model


def with_norm(model):
    nn.utils.parametrizations.weight_norm(model.stem)
    return model


@pytest.mark.parametrize(
    ("make", "how", "options", "says"),
    [
        (lambda: with_own(net()), SpaceTime(), {}, "Own at 'body.0.conv1'.*its forward is its own"),
        (lambda: with_norm(net()), SpaceTime(), {}, "at 'stem'.*make the weight plain first"),
        (net, ChannelSeparated("ir", stem=True, group_width=3), {}, "at 'body.0.*group_width"),
        (net, SpaceTime(), dict(accept="planar"), "accept='planar' grades conversions from 2D"),
        (net, SpaceTime(), dict(example=volume()[:, :1]), "does not run on example="),
        (net, SpaceTime(), dict(budget=-1), "budget is a positive number"),
        (FlatResNet, lean3d.ACS(), dict(budget=0.5), "budget is a positive number.*lean"),
        (Reader, SpaceTime("rank1"), {}, "is not the network of its fitted kernels"),
        (net, SpaceTime, {}, r"ParallelSeparable\(\) or SpaceTime\(\)"),
    ],
)
def test_refuses_what_it_cannot_do_and_says_where(make, how, options, says):
    with pytest.raises(ConversionError, match=says):
        convert(make(), how, **options)


@pytest.mark.parametrize("name", ["rank1", "csn_ip", "atoms", "p2sc2", "dissect"])
def test_a_network_without_3d_convolutions_has_nothing_to_replace(name):
    with pytest.raises(ConversionError, match="Sequential has no dense 3D convolution"):
        convert(nn.Sequential(nn.Linear(2, 2)), conversion(name))


def test_a_2d_network_or_one_in_views_has_nothing_to_make_causal_or_lean():
    flat = FlatResNet()
    with pytest.raises(ConversionError, match="is a 2D network and has no dense 3D"):
        convert(flat, conversion("dissect"))
    with pytest.raises(ConversionError, match="has no dense 3D convolution"):
        convert(convert(flat, lean3d.ACS()), conversion("p3sc1"))


def flat_and_deep():
    flat = FlatResNet().eval()
    return flat, convert(flat, lean3d.Inflate(depth=None, pad="zeros"))


@pytest.mark.parametrize("name", ["rank1", "csn_ip", "atoms", "p3sc1"])
def test_a_lean_form_of_a_2d_network_is_fitted_to_its_inflated_kernels(name):
    flat, deep = flat_and_deep()
    once, twice = convert(flat, conversion(name)), convert(deep, conversion(name))
    x = torch.randn(1, 3, 9, 32, 24)
    torch.testing.assert_close(once(x), twice(x))
    assert once.state_dict().keys() == twice.state_dict().keys()
    record = once.conversion
    assert (record.grade, record.before.how) == ("fitted", deep.conversion.how)
    assert str(deep.conversion.how) in str(record)
    assert str(record.how) in str(record)


def test_in_one_call_channels_classes_and_a_budget_go_to_their_method():
    flat, _ = flat_and_deep()
    volume = torch.randn(1, 1, 9, 32, 24)
    ends = dict(in_channels=1, num_classes=4)
    # the stem pads its own input, which its operators have to be counted with
    model = convert(flat, conversion("rank1"), example=volume, budget=0.4, **ends)
    assert model(volume).shape == (1, 4)
    dense = convert(flat, lean3d.Inflate(depth=None, pad="zeros"), **ends)
    cost, whole = (lean3d.count(net, volume.shape).macs for net in (model, dense))
    assert cost <= 0.4 * whole
    assert any("in_channels=1" in line for line in model.conversion.before.ends)


def test_a_pair_of_methods_says_to_which_kernels_a_form_is_fitted():
    flat, _ = flat_and_deep()
    model = convert(flat, (lean3d.Inflate(keep_depth=1), SpaceTime("rank1")))
    assert model.conversion.before.how == lean3d.Inflate(keep_depth=1)
    causal = convert(flat, (lean3d.Inflate(), lean3d.Dissect()))
    assert causal.conversion.grade == "causal"
    for pair in ((SpaceTime(), lean3d.Inflate()), (lean3d.ACS(),), ()):
        with pytest.raises(ConversionError, match="two methods are "):
            convert(flat, pair)


@pytest.mark.parametrize("budget", [float("inf"), float("nan"), 0, -1])
def test_a_budget_is_a_positive_number(budget):
    model = nn.Sequential(nn.Conv3d(1, 2, 3))
    with pytest.raises(ConversionError, match="budget is a positive number"):
        convert(model, SpaceTime(), budget=budget, example=torch.ones(1, 1, 4, 4, 4))
