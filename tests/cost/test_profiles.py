import pytest
from torch import nn

from lean3d.cost import count

SHAPE = (1, 3, 8, 8, 8)
CUBE = 3 * 8**3

THOP = {
    "bias": (nn.Conv3d(3, 4, 3, padding=1), 512 * 4 * (81 + 1)),
    "no bias": (nn.Conv3d(3, 4, 3, padding=1, bias=False), 512 * 4 * 81),
    "batch norm": (nn.BatchNorm3d(3), 2 * CUBE),
    "relu": (nn.ReLU(), CUBE),
    "in place": (nn.ReLU(inplace=True), CUBE),
    "relu6": (nn.ReLU6(), CUBE),
    "max pool": (nn.MaxPool3d(3, 2, 1), 26 * 3 * 64),
    "average pool": (nn.AvgPool3d((1, 2, 2)), 4 * 3 * 8 * 16),
    "adaptive pool": (nn.AdaptiveAvgPool3d(2), CUBE),
    "global pool": (nn.AdaptiveAvgPool3d(1), CUBE),
    "linear": (nn.Sequential(nn.Flatten(), nn.Linear(CUBE, 5)), (2 * CUBE - 1) * 5),
}


@pytest.mark.parametrize("name", THOP)
def test_thop_counts_as_the_early_thop_did(name):
    layer, operations = THOP[name]
    assert count(layer, SHAPE, profile="thop").macs == operations


def test_thop_can_count_a_linear_layer_in_multiply_adds():
    layer = nn.Sequential(nn.Flatten(), nn.Linear(CUBE, 5), nn.ReLU())
    assert count(layer, SHAPE, profile="thop_fc_macs").macs == CUBE * 5 + 5


@pytest.mark.parametrize("name", ["batch norm", "relu", "max pool", "average pool", "global pool"])
def test_csn_counts_convolutions_and_linear_layers_alone(name):
    net = nn.Sequential(nn.Conv3d(3, 3, 1), THOP[name][0], nn.Flatten(), nn.LazyLinear(2))
    inputs = {"max pool": 192, "average pool": 384, "global pool": 3}.get(name, CUBE)
    net[-1] = nn.Linear(inputs, 2)
    assert count(net, SHAPE, profile="csn").macs == 512 * 9 + inputs * 2
