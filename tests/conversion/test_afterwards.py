"""Modules put into a converted network afterwards become 3D, or one sentence says which is 2D."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from flat_models import ResNet
from torch import nn
from torch.nn.utils import parametrize

from lean3d import ACS, ConversionError, Inflate, MeanACS, Planar, SoftACS, convert, unconvert
from lean3d.ops import ACSConv3d, PlanarConv3d

HOWS = [ACS(), MeanACS(), SoftACS(), Planar(), Inflate()]
x = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A body in modules, and a head that a method of its own puts in."""

    def __init__(self, head):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
        self.fc = nn.Linear(16, 4)
        self.reset_head(head)

    def reset_head(self, head):
        self.head = head

    def forward(self, x):
        return self.fc(self.head(self.body(x)).flatten(1))


class Merged(nn.Module):
    """Calls its head while depth is merged into the batch."""

    def __init__(self, head):
        super().__init__()
        self.conv, self.heads = nn.Conv2d(1, 16, 3), nn.ModuleList([head])
        self.fc = nn.Linear(16, 4)

    def reset_head(self, head):
        self.heads[0] = head

    def forward(self, x):
        x = F.max_pool2d(F.pad(self.conv(x), (1, 1, 1, 1)), 2)
        for head in self.heads:
            x = head(x)
        return self.fc(x.mean((2, 3)))


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3), keepdim=True)


class Both(nn.Module):
    """As timm's SelectAdaptivePool2d("avgmax")."""

    def forward(self, x):
        return F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, 1)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.norm = nn.Conv2d(16, 16, 3), nn.Linear(16, 16), nn.BatchNorm2d(16)

    def forward(self, x):
        gate = self.fc(x.mean((2, 3))).sigmoid()
        return F.adaptive_avg_pool2d(self.norm(self.conv(x)) * gate[:, :, None, None], 1)


class Frozen(nn.Module):
    """As torchvision's FrozenBatchNorm2d: numbers of every channel, no parameters."""

    def __init__(self, norm):
        super().__init__()
        self.num_features = norm.num_features
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, getattr(norm, name).detach().clone())

    def forward(self, x):
        scale = self.weight.view(1, -1, 1, 1) * (self.running_var.view(1, -1, 1, 1) + 1e-5).rsqrt()
        bias = self.bias.view(1, -1, 1, 1) - self.running_mean.view(1, -1, 1, 1) * scale
        return x * scale + bias


HEADS = {
    "avg": lambda: nn.AdaptiveAvgPool2d(1),
    "max": lambda: nn.AdaptiveMaxPool2d(1),
    "mean": Mean,
    "both": Both,
    "convs": lambda: nn.Sequential(
        nn.Conv2d(16, 16, 2), nn.BatchNorm2d(16), nn.AdaptiveAvgPool2d(1)
    ),
    "gated": Gated,
}


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("kind", [Net, Merged])
@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_a_new_head_is_the_one_that_a_conversion_would_make(how, kind, head):
    new = HEADS[head]().eval()
    flat = kind(copy.deepcopy(new)).eval()
    expected = convert(flat, how)
    deep = convert(kind(nn.AdaptiveAvgPool2d(1)).eval(), how)
    for name in ("body", "conv", "fc"):
        if hasattr(deep, name):
            getattr(deep, name).load_state_dict(getattr(expected, name).state_dict())
    deep.reset_head(new)
    for volume in x, x[:, :, :9]:
        torch.testing.assert_close(deep(volume), expected(volume))


def put_in():
    conv = nn.Conv2d(1, 8, 3, 2, 1)

    def by_name(net):
        net.body[0] = conv

    def by_add_module(net):
        net.body.add_module("0", conv)

    def by_set_submodule(net):
        net.set_submodule("body.0", conv)

    def part_by_part(net):
        net.body = nn.Sequential()
        net.body.append(conv)
        net.body.add_module("act", nn.ReLU())
        net.body.append(nn.Conv2d(8, 16, 3, 2, 1))

    return [by_name, by_add_module, by_set_submodule, part_by_part]


@pytest.mark.parametrize("change", put_in(), ids=lambda change: change.__name__)
@pytest.mark.parametrize("copied", [lambda net: net, copy.deepcopy, copy.copy, "pickle"])
def test_however_it_is_put_in_and_in_copies_too(change, copied):
    deep = convert(Net(nn.AdaptiveAvgPool2d(1)), ACS())
    deep = pickle.loads(pickle.dumps(deep)) if copied == "pickle" else copied(deep)
    change(deep)
    assert type(deep.body[0]) is ACSConv3d
    assert deep(x).shape == (2, 4)


def test_the_module_stays_the_same_object_with_its_parameters():
    deep, conv = convert(Net(nn.AdaptiveAvgPool2d(1)), ACS()), nn.Conv2d(1, 8, 3, 2, 1)
    weight = conv.weight
    deep.body[0] = conv
    assert deep.body[0] is conv
    assert conv.weight is weight


def test_unconvert_makes_them_2d_again_and_leaves_later_ones_alone():
    deep = convert(Net(nn.AdaptiveAvgPool2d(1)), ACS())
    deep.reset_head(nn.AdaptiveMaxPool2d(1))
    flat = unconvert(deep)
    assert type(flat.head) is nn.AdaptiveMaxPool2d
    flat.reset_head(nn.AdaptiveAvgPool2d(1))
    assert type(flat.head) is nn.AdaptiveAvgPool2d
    assert flat(x[:, :, 0]).shape == (2, 4)


def test_networks_that_were_not_converted_are_left_alone():
    flat = Net(nn.AdaptiveAvgPool2d(1))
    convert(flat, ACS())
    flat.reset_head(nn.AdaptiveMaxPool2d(1))
    assert type(flat.head) is nn.AdaptiveMaxPool2d
    outer = nn.Sequential(convert(flat, ACS()))
    outer.append(nn.Conv2d(4, 4, 1))
    assert type(outer[1]) is nn.Conv2d


def test_where_its_own_code_is_3d_already_it_stays_as_it_is():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(16, 16, 1)

        def forward(self, x):
            return self.conv(x).mean((2, 3, 4))

    class Vector(nn.Module):
        def forward(self, x):
            return x.flatten(2).mean(-1)

    deep = convert(Net(nn.AdaptiveAvgPool2d(1)), ACS())
    for head in Head(), Vector(), nn.AdaptiveAvgPool3d(1), nn.Identity():
        kind = type(head)
        deep.reset_head(head)
        assert type(deep.head) is kind
    deep.reset_head(convert(nn.Conv2d(16, 16, 3), Planar()))
    assert type(deep.head) is PlanarConv3d


def test_what_computes_a_weight_never_meets_a_volume():
    class Centred(nn.Module):
        def forward(self, weight):
            return weight - weight.mean((2, 3), keepdim=True)

    deep = convert(Net(nn.AdaptiveAvgPool2d(1)), Inflate())
    kernel = deep.body[0].weight.detach().clone()
    parametrize.register_parametrization(deep.body[0], "weight", Centred())
    torch.testing.assert_close(deep.body[0].weight, kernel - kernel.mean((2, 3), keepdim=True))


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (lambda: nn.FractionalMaxPool2d(2, 1), "FractionalMaxPool2d"),
        (lambda: nn.Sequential(nn.ReLU(), nn.Unfold(2)), "Unfold"),
        (lambda: nn.ModuleDict({"conv": Odd()}), "Conv2d"),
    ],
)
def test_what_has_no_3d_form_is_named_and_not_put_in(head, what):
    deep = convert(Net(nn.AdaptiveAvgPool2d(1)), ACS())
    before = deep.head
    with pytest.raises(ConversionError, match=rf"'Net\.head.*was put into.*ACS.*{what}") as caught:
        deep.reset_head(head())
    assert len(str(caught.value)) <= 400
    assert deep.head is before
    assert deep(x).shape == (2, 4)


class Odd(nn.Module):
    """Takes what no image is."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3)

    def forward(self, x, more):
        return self.conv(x) + more["else"]


def test_2d_modules_around_converted_ones_are_refused():
    class Around(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.gate = inner, nn.Conv2d(16, 16, 1)

        def forward(self, x):
            y = self.inner(x)
            return y * self.gate(y.mean((2, 3), keepdim=True))

    deep = convert(Net(nn.AdaptiveAvgPool2d(1)), ACS())
    with pytest.raises(ConversionError, match=r"'Sequential\.2\.gate' .* 2D and 3D"):
        deep.body[2] = Around(deep.body[2])


def test_batch_norms_are_found_by_what_freezes_them():
    model = ResNet().train()
    deep = convert(model, ACS())
    norms = [module for module in deep.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert all(isinstance(norm, nn.BatchNorm3d) for norm in norms)
    for norm in norms:
        norm.eval()
    before = [norm.running_mean.clone() for norm in norms]
    deep(torch.randn(2, 3, 32, 32, 32))
    assert all(map(torch.equal, before, [norm.running_mean for norm in norms]))


@torch.no_grad()
def test_frozen_norms_answer_as_those_they_replace():
    deep = convert(ResNet().eval(), ACS())
    volume = torch.randn(2, 3, 24, 32, 32)
    expected = deep(volume)
    for path, module in list(deep.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            deep.set_submodule(path, Frozen(module))
    torch.testing.assert_close(deep(volume), expected)


class Branches(nn.Module):
    """Two branches that a method merges into one kernel, as RepVGG's blocks do."""

    def __init__(self):
        super().__init__()
        self.conv, self.side = nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 1, 2)

    def merge(self):
        conv, side = self.conv, self.side
        settings = conv.kernel_size, conv.stride, conv.padding
        self.merged = nn.Conv2d(conv.in_channels, conv.out_channels, *settings)
        self.merged.weight.data = conv.weight.data + F.pad(side.weight.data, (1, 1, 1, 1))
        self.merged.bias.data = conv.bias.data + side.bias.data
        del self.conv, self.side

    def forward(self, x):
        return self.conv(x) + self.side(x) if hasattr(self, "conv") else self.merged(x)


@pytest.mark.parametrize("how", [ACS(), MeanACS(), Planar(), ACS(keep_depth=None)], ids=str)
@torch.no_grad()
def test_branches_merge_into_one_kernel(how):
    deep = convert(Branches(), how)
    volume = torch.randn(1, 4, 12, 16, 16)
    expected = deep(volume)
    deep.merge()
    torch.testing.assert_close(deep(volume), expected)


class Picky(nn.Module):
    """Merges its branches as RepVGG does, and takes no other class or shape than it knows."""

    def __init__(self):
        super().__init__()
        self.wide, self.point = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.wide(x) + self.point(x)

    def reparameterize(self):
        assert type(self.wide) is nn.Conv2d
        self.wide.weight.data += F.pad(self.point.weight, [1, 1, 1, 1])


class Fused(Picky):
    def fuse(self):
        self.reparameterize()
        return self.wide


@pytest.mark.parametrize("how", [ACS(), Inflate()], ids=str)
@pytest.mark.parametrize(
    "copied", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_method_that_cannot_merge_3d_branches_says_what_to_do(how, copied):
    flat = nn.Sequential(Picky(), Fused()).eval()
    deep = copied(convert(flat, how))
    said = rf"cannot merge those of a network converted by {type(how).__name__}\(\); call it on"
    with pytest.raises(
        ConversionError, match=f"Picky.reparameterize merges 2D branches, and {said}"
    ):
        deep[0].reparameterize()
    with pytest.raises(ConversionError, match=r"Fused\.reparameterize merges"):
        deep[1].fuse()
    assert not hasattr(deep[0], "fuse")
    again = unconvert(deep)
    assert type(again[0]) is Picky
    again[0].reparameterize()


def test_branches_whose_kernels_are_not_those_of_2d_are_refused():
    with pytest.raises(ConversionError, match=r"'Branches\.merged' .* computed from 3D ones"):
        convert(Branches(), SoftACS()).merge()


@pytest.mark.parametrize("how", [ACS(keep_depth=1), Planar(keep_depth=None)])
def test_a_module_in_the_place_of_another_keeps_depth_as_that_did(how):
    deep = convert(Net(nn.AdaptiveAvgPool2d(1)), how)
    deep.body[0] = nn.Conv2d(1, 8, 5, 2, 2)
    assert deep.body[0](x).shape == (2, 8, 16, 8, 8)
    if how.keep_depth == 1:
        with pytest.raises(ConversionError, match=r"'Sequential\.3' .*keep_depth="):
            deep.body.append(nn.Conv2d(16, 16, 3, 2, 1))
