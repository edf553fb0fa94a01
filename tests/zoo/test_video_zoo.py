"""torchvision's video networks and ours: the same names, the same answers."""

import pytest
import torch
from torch import nn
from warm_norms import warm_norms
from zoo import torchvision

from lean3d.models import create_model

SAME = {
    "r3d_18": ("resnet3d_18", dict(pool1=False)),
    "mc3_18": ("mc3_18", {}),
    "r2plus1d_18": ("r2plus1d_18", dict(midplanes="torchvision")),
}


def assert_same_scores(theirs, ours):
    warm_norms(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 5, 33, 35)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("name", SAME)
def test_the_weights_load_by_name_and_give_the_same_scores(name):
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=5)
    own, options = SAME[name]
    assert_same_scores(theirs, create_model(own, num_classes=5, **options))


class Depthwise(nn.Conv3d):
    """What CSN's release gives torchvision's VideoResNet to make ir-CSN of it."""

    def __init__(self, in_planes, out_planes, midplanes=None, stride=1):
        super().__init__(in_planes, out_planes, 3, stride, 1, groups=in_planes, bias=False)

    @staticmethod
    def get_downsample_stride(stride):
        return (stride,) * 3


class Preserved(nn.Sequential):
    """And ip-CSN."""

    get_downsample_stride = Depthwise.get_downsample_stride

    def __init__(self, in_planes, out_planes, midplanes=None, stride=1):
        mix = nn.Conv3d(in_planes, out_planes, 1, bias=False)
        super().__init__(
            mix, nn.BatchNorm3d(out_planes), Depthwise(out_planes, out_planes, stride=stride)
        )


@pytest.mark.parametrize(("name", "maker"), [("ir_csn_50", Depthwise), ("ip_csn_50", Preserved)])
def test_csn_is_the_network_its_release_makes_of_torchvisions(name, maker):
    torch.manual_seed(0)
    parts = torchvision.models.video.resnet
    settings = dict(layers=[3, 4, 6, 3], stem=parts.BasicStem, num_classes=5)
    theirs = parts.VideoResNet(parts.Bottleneck, [maker] * 4, **settings)
    assert_same_scores(theirs, create_model(name, num_classes=5, pool1=False))
