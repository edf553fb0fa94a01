"""Cuts as text, and the networks that they describe."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d.errors import LeanError
from lean3d.lightening import Cut, read_cut, restructure

CUTS = [
    Cut("conv1", lean3d.SpaceTime("rank1", mid_channels=4)),
    Cut("conv1", lean3d.SpaceTime(mid_channels=6), outputs=4),
    Cut("conv2", lean3d.ParallelSeparable(2, filters=3, relu=False), inputs=4),
    Cut("conv2", lean3d.ChannelSeparated("ip", group_width=2)),
    Cut("conv2", lean3d.Atoms(3, 2, path="stages")),
    Cut("conv2", lean3d.ACS()),
    Cut("conv2", lean3d.MeanACS()),
    Cut("conv2", lean3d.Planar(2)),
    Cut("conv2", None, inputs=4),
    Cut("conv2", lean3d.ParallelSeparable(2, 2, filters=3), first="conv1"),
    Cut("norm", gone=True),
    Cut("norm", outputs=4),
]


def net(channels=8):
    parts = dict(
        conv1=nn.Conv3d(2, channels, 3, padding=1, bias=False),
        norm=nn.BatchNorm3d(channels),
        relu=nn.ReLU(),
        conv2=nn.Conv3d(channels, 6, 3, padding=1),
    )
    model = nn.Sequential()
    for name, part in parts.items():
        model.add_module(name, part)
    return model


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_text_gives_the_same_cut(cut):
    assert read_cut(str(cut)) == cut


def test_the_text_of_a_network_that_is_one_convolution_can_be_read():
    cut = Cut("", lean3d.SpaceTime("rank1", mid_channels=4))
    assert read_cut(str(cut)) == cut
    assert isinstance(restructure(nn.Conv3d(2, 3, 3), [cut]), lean3d.ops.SpaceTimeConv3d)


@pytest.mark.parametrize("cut", [c for c in CUTS if c.path == "conv2" and not c.inputs], ids=str)
def test_a_network_gets_the_module_of_the_cut(cut):
    model = restructure(net(), [cut])
    kind = type(model.conv2).__name__
    assert kind != "Conv3d" or cut.how is None
    given = torch.randn(1, 2, 4, 6, 6)
    if cut.first:
        model = restructure(net(), [cut, Cut("conv1", gone=True), Cut("norm", gone=True)])
    assert model(given).shape == (1, 6, 4, 6, 6)


def test_channels_between_two_convolutions_go():
    model = net()
    restructure(model, [Cut("conv1", outputs=4), Cut("norm", outputs=4), Cut("conv2", inputs=4)])
    assert model(torch.randn(2, 2, 4, 6, 6)).shape == (2, 6, 4, 6, 6)
    assert model.norm.num_features == len(model.norm.running_var) == 4
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in net().parameters())


def test_a_convolution_of_more_channels_stays_in_one_group():
    conv = restructure(net(), [Cut("conv2", inputs=16)]).conv2
    assert (conv.in_channels, conv.groups) == (16, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no module"),
        ("conv2", "names no module, or nothing"),
        ("conv2 SpaceTimes", "no size, and no form of"),
        ("conv2 inputs=0", "no size"),
        ("conv2 SpaceTime form=rank3", "rank1"),
        ("conv2 SpaceTime rank=3", "rank"),
        ("conv2 outputs=4 color=red", "color"),
    ],
)
def test_text_that_is_no_cut_is_refused(text, why):
    with pytest.raises(LeanError, match=why):
        read_cut(text)


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        ("conv9 SpaceTime", "no conv9 to cut"),
        ("conv2 first=conv9 SpaceTime", "no conv9 to cut"),
        ("norm inputs=3", "names the outputs that it keeps"),
        ("conv2 ChannelSeparated group_width=4", "conv2 cannot become"),
        ("grouped inputs=6 outputs=6", "6 channels are no multiple of a group's 4"),
        ("group_norm outputs=6", "6 channels of a group norm's groups of 4"),
    ],
)
def test_a_cut_of_another_network_is_refused(cut, why):
    model = net()
    model.grouped = nn.Conv3d(8, 8, 3, groups=2)
    model.group_norm = nn.GroupNorm(2, 8)
    with pytest.raises(LeanError, match=why):
        restructure(model, [read_cut(cut)])
