"""Grad-CAM and feature maps of a network whose evidence is known."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d import ACS, LeanError, convert
from lean3d.infer.attention import class_attention, feature_attention, find_layer


class Signs(nn.Module):
    """Class 0 counts what is bright, class 1 what is dark."""

    def __init__(self, inplace=False):
        super().__init__()
        self.split, self.relu = nn.Conv3d(1, 2, 1, bias=False), nn.ReLU(inplace)
        self.classes = nn.Linear(2, 2, bias=False)
        self.split.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1, 1)
        self.classes.weight.data = torch.tensor([[1.0, -0.5], [-0.5, 1.0]])

    def forward(self, x):
        return self.classes(self.relu(self.split(x)).mean((2, 3, 4)))


@pytest.fixture
def x():
    x = torch.zeros(1, 1, 6, 8, 8)
    x[:, :, 1:3, 1:4, 1:4] = 2.0
    x[:, :, 3:5, 5:7, 5:7] = -4.0
    return x


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("target", [0, 1])
def test_gradcam_is_the_formula_of_the_paper(x, inplace, target):
    net = Signs(inplace).eval()
    heat = class_attention(net, x, "relu", target)
    sign = 1.0 if target == 0 else -1.0
    # the weights of the two maps are the gradients of the score: 1 and -0.5, over the voxels
    expected = ((sign * x).clamp(min=0) - 0.5 * (-sign * x).clamp(min=0)).clamp(min=0)
    torch.testing.assert_close(heat[0], (expected / expected.max())[0, 0])


def test_features_are_the_sum_over_the_channels(x):
    heat = feature_attention(Signs().eval(), x, "relu")
    torch.testing.assert_close(heat[0], x.abs()[0, 0] / 4)


def test_a_layer_is_the_last_one_of_the_smallest_maps(x):
    assert find_layer(Signs().eval(), x) == "relu"
    net = lean3d.create_model("unet3d", widths=(2, 4, 8)).eval()
    clip = torch.randn(1, 1, 16, 16, 16)
    path = find_layer(net, clip)
    sizes = {}
    net.get_submodule(path).register_forward_hook(lambda m, i, y: sizes.update(y=y.shape))
    net(clip)
    assert sizes["y"][2:] == (2, 2, 2)


def test_a_layer_that_runs_twice_or_is_not_there_is_refused(x):
    class Twice(Signs):
        def forward(self, x):
            return self.classes(self.relu(self.relu(self.split(x))).mean((2, 3, 4)))

    assert find_layer(Twice().eval(), x) == "split"
    for layer, why in (("relu", "more than once"), ("gone", "not there"), ("classes", "no map")):
        with pytest.raises(LeanError, match=why):
            find_layer(Twice().eval(), x, layer)
    # paths are those within the network, wherever that is
    outer = nn.Sequential(Twice()).eval()
    assert find_layer(outer, x, "split", inside="0.") == "0.split"
    with pytest.raises(LeanError, match=r"layer 'gone' is not there; .* are split$"):
        find_layer(outer, x, "gone", inside="0.")


@pytest.mark.parametrize("name", ["d_resnet_18", "ir_csn_26", "resnet3d_18"])
def test_networks_of_the_registry(name):
    net = lean3d.create_model(name, num_classes=3, widths=(4, 4, 8, 8)).eval()
    clip = torch.randn(1, 3, 8, 64, 64)
    layer = find_layer(net, clip)
    assert layer.startswith(("layer4", "conv_last"))
    heat = class_attention(net, clip, layer, 1)
    assert heat.shape == (1, 8, 64, 64)
    assert 0 <= heat.min() <= heat.max() <= 1


def test_a_converted_network():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)
            self.act, self.fc = nn.ReLU(inplace=True), nn.Linear(4, 2)

        def forward(self, x):
            x = nn.functional.max_pool2d(self.act(self.a(x)), 2)
            return self.fc(self.b(x).mean((2, 3)))

    torch.manual_seed(0)
    net = convert(Net().eval(), ACS())
    x = torch.randn(1, 1, 16, 16, 16)
    heats = [class_attention(net, x, find_layer(net, x), target) for target in (0, 1)]
    assert heats[0].shape == (1, 16, 16, 16)
    assert max(heat.max() for heat in heats) == pytest.approx(1.0)
