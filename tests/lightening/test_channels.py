"""Channels that go together, and networks made lighter across additions and concatenations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lean3d
from lean3d.lightening import Cut, restructure
from lean3d.lightening.candidates import Levels, channel_order
from lean3d.lightening.channels import Part
from lean3d.lightening.clock import Clock, Place
from lean3d.lightening.seen import look
from lean3d.lightening.sites import find_places
from lean3d.lightening.times import Times

CLIP = torch.randn(4, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def conv(inputs, outputs, size=3, **more):
    return nn.Conv3d(inputs, outputs, size, padding=size // 2, **more)


def slopes(channels):
    made = nn.PReLU(channels)
    nn.init.uniform_(made.weight)
    return made


class Net(nn.Module):
    """Two stems, a body of its own, and a head."""

    def __init__(self, body, inputs=8, **parts):
        super().__init__()
        self.one, self.two, self.norm = conv(2, 8), conv(2, 8), nn.BatchNorm3d(inputs)
        self.head, self.body = conv(inputs, 3, 1), body
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.body(self, self.one(x), self.two(x)))))


def residual(net, x, y):
    x = F.relu(x)
    return x + net.inner(y + x)


def weighed(net, x, y):
    # squeeze and excite
    return x * torch.sigmoid(net.inner(y.mean((2, 3, 4), keepdim=True)))


def joined(net, x, y):
    return torch.cat([F.max_pool3d(x, 2), F.interpolate(y, scale_factor=0.5)], dim=1)


def up(net, x, y):
    return net.inner(F.avg_pool3d(x + y, 2))


def each_alone(net, x, y):
    # as in X3D and CSN, and of channels that lie in a row
    return net.inner(F.relu(net.between(torch.cat([x, y], 1))))


def normed(net, x, y):
    # groups of two channels and of four, joined
    return net.joint(x) + F.relu(net.inner(y))


class Simple(nn.Conv3d):
    """A convolution of a class of its own, as torchvision's are."""


class Vector(nn.Module):
    """A linear layer reads each channel at several positions."""

    def __init__(self):
        super().__init__()
        self.one, self.head = Simple(2, 8, 3, padding=1), nn.Linear(8 * 8, 3)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool3d(F.relu(self.one(x)), 2).flatten(1))


NETS = {
    "residual": (lambda: Net(residual, inner=conv(8, 8)), 1),
    "weighed": (lambda: Net(weighed, inner=conv(8, 8, 1)), 2),
    "joined": (lambda: Net(joined, 16), 2),
    "up": (lambda: Net(up, 6, inner=nn.ConvTranspose3d(8, 6, 2, 2)), 2),
    "vector": (Vector, 1),
    # R(2+1)D's are 45, 230 and so on, no multiples of those that are kept
    "an odd width": (lambda: nn.Sequential(conv(2, 18), nn.ReLU(), conv(18, 3)), 1),
    "slopes": (
        lambda: nn.Sequential(conv(2, 8), slopes(8), conv(8, 8), nn.PReLU(), conv(8, 3)),
        2,
    ),
    "depthwise": (
        lambda: Net(each_alone, between=conv(16, 16, groups=16), inner=conv(16, 8, groups=1)),
        3,
    ),
    "groups": (
        lambda: Net(each_alone, between=conv(16, 24, groups=4), inner=conv(24, 8)),
        3,
    ),
    "groups of two maps": (
        lambda: Net(each_alone, between=conv(16, 16, groups=8), inner=conv(16, 8, groups=4)),
        2,
    ),
    "group norms": (
        lambda: Net(
            normed, joint=nn.GroupNorm(4, 8), inner=nn.Sequential(conv(8, 8), nn.GroupNorm(2, 8))
        ),
        2,
    ),
    "inflated": (
        lambda: lean3d.convert(
            nn.Sequential(
                nn.Conv2d(2, 8, 3, padding=1),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3, 2, padding=1, groups=2),
                nn.ConvTranspose2d(8, 4, 2, 2),
                nn.Conv2d(4, 3, 1),
            ),
            lean3d.Inflate(),
        ),
        2,
    ),
    "depthwise, strided": (
        lambda: Net(lambda net, x, y: net.inner(x + y), inner=conv(8, 8, stride=2, groups=8)),
        1,
    ),
}
# functions that no choice of channels leaves as it is
KEPT = {
    "softmax": lambda net, x, y: F.softmax(x, 1) + F.softmax(y, 1),
    "group norm": lambda net, x, y: F.group_norm(x + y, 2),
    "a parameter": lambda net, x, y: (x + y) * net.scale,
    "a sort": lambda net, x, y: (x + y).flatten(1).sort(1).values.view_as(x),
    "halves": lambda net, x, y: torch.cat((x + y).chunk(2, 1)[::-1], 1),
}


def made(build):
    torch.manual_seed(0)
    return build().eval()


@pytest.mark.parametrize("name", NETS)
def test_groups_follow_the_channels(name):
    build, groups = NETS[name]
    found = find_places(made(build), (CLIP,), fewer=True).channels
    assert len(found.free) == groups
    if name == "residual":
        (group,) = found.free
        assert {path for path, own in found.writes.items() if own == (Part(group),)} == {
            "one",
            "two",
            "inner",
        }


@pytest.mark.parametrize("name", KEPT)
def test_channels_that_a_function_mixes_all_stay(name):
    model = made(lambda: Net(KEPT[name]))
    model.scale = nn.Parameter(torch.randn(8, 1, 1, 1))
    assert not find_places(model, (CLIP,), fewer=True).channels.free


@pytest.mark.parametrize("name", NETS)
def test_channels_go_across_additions_and_concatenations(name):
    model = made(NETS[name][0])
    light = lean3d.lighten(model, CLIP[:1], macs=0.5, data=CLIP, cuts=["channels"])
    record = light.lightening
    assert record.measured == lean3d.count(light, CLIP[:1].shape).macs <= 0.5 * record.before
    assert record.predicted == record.measured
    again = restructure(made(NETS[name][0]), record.cuts).eval()
    again.load_state_dict(light.state_dict())
    with torch.no_grad():
        assert torch.equal(again(CLIP), light(CLIP))


def test_the_channels_that_matter_are_kept():
    model = made(NETS["residual"][0])
    with torch.no_grad():
        # the first four channels of the stream are all that is read
        model.head.weight[:, 4:] = 0
        model.inner.weight[:, 4:] = 0
        wanted = model(CLIP)
    light = lean3d.lighten(model, CLIP[:1], macs=0.51, data=CLIP, cuts=["channels"])
    with torch.no_grad():
        assert (light(CLIP) - wanted).norm() / wanted.norm() < 1e-3


def test_groups_that_one_kernel_reads_many_of_have_one_share():
    model = lean3d.create_model("densenet3d", num_classes=3, in_channels=2).eval()
    places = find_places(model, (CLIP,), fewer=True)
    levels = Levels(places, ["channels"])
    read = [levels.touched(path) for path in places.channels.reads]
    assert max(len(layout) for layout in places.channels.reads.values()) > 2
    assert max(len(bundles) for bundles in read) <= 3


def test_a_linear_layer_is_timed_by_a_backend_of_convolutions():
    places = find_places(made(Vector), (CLIP[:1],), fewer=True)
    (site,) = (site for site in places.sites if not site.convolves)
    dense, thin = (Place(site, Cut(site.path, inputs=n)) for n in (None, 32))
    clock = Clock("onednn", "float32", torch.device("cpu"), Times(None), 60.0)
    found = clock.ratios(dense, [thin])
    assert found.keys() == {dense.key, thin.key}
    assert 0 < found[thin.key] < 5


def test_one_sample_tells_which_channels_a_linear_layer_reads():
    model = made(Vector)
    with torch.no_grad():
        model.head.weight[:, 8:] = 0  # all but those of the first channel
    places = find_places(model, (CLIP[:1],), fewer=True)
    (order,) = channel_order(places, look(model, (CLIP[:1],), ["one", "head"])).values()
    assert order[0] == 0


def test_a_depthwise_convolution_reads_each_channel_by_itself():
    model = made(NETS["depthwise"][0])
    with torch.no_grad():
        # the largest channels, which the depthwise convolution does not read
        model.one.weight[:4] *= 100
        model.between.weight[:4] = 0
    places = find_places(model, (CLIP,), fewer=True)
    order = channel_order(places, look(model, (CLIP,), [site.path for site in places.sites]))
    (part,) = places.channels.writes["one"]
    assert set(order[part.group][:4]) == {4, 5, 6, 7}
