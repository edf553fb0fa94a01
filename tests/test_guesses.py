"""Layers that never say `in_channels` are tried with the channels that their weights are for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d import ACS, Planar, convert, stream
from lean3d.guesses import likely_channels, random_input

CHANNELS = 12


class NormAct(nn.BatchNorm2d):
    """As timm's: a norm that holds its activation."""

    def __init__(self):
        super().__init__(CHANNELS)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(F.batch_norm(x, self.running_mean, self.running_var, self.weight))


class ChannelNorm(nn.LayerNorm):
    def __init__(self):
        super().__init__(CHANNELS)

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scaled(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(shape))
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(x) * self.gamma.view(1, -1, 1, 1)


class Blurred(nn.Module):
    """As timm's BlurPool2d: a kernel, and no convolution that holds it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", torch.rand(CHANNELS, 1, 3, 3))

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.kernel, groups=len(self.kernel))


class Mixed(Blurred):
    def __init__(self):
        super().__init__()
        self.kernel = torch.rand(5, CHANNELS, 3, 3)

    def forward(self, x):
        return F.conv2d(x, self.kernel, padding=1)


class Squeezed(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(CHANNELS, 2), nn.Linear(2, CHANNELS)

    def forward(self, x):
        return x * self.up(self.down(x.mean((2, 3)))).sigmoid()[:, :, None, None]


LAYERS = {
    "norm and activation": NormAct,
    "channels normed": ChannelNorm,
    "scaled": lambda: Scaled(CHANNELS),
    "scaled by a map": lambda: Scaled(1, CHANNELS, 1, 1),
    "blurred": Blurred,
    "mixed": Mixed,
    "squeezed": Squeezed,
    "group norm": lambda: nn.Sequential(nn.GroupNorm(3, CHANNELS), nn.ReLU()),
}


@pytest.mark.parametrize("layer", LAYERS)
@torch.no_grad()
def test_a_layer_becomes_3d_by_itself_and_in_a_converted_network(layer):
    flat = LAYERS[layer]().eval()
    x_BCDHW = torch.randn(2, CHANNELS, 4, 7, 6, generator=torch.Generator().manual_seed(0))
    deep = convert(nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.ReLU()).eval(), ACS())
    expected = convert(flat, ACS())(x_BCDHW)
    if layer not in ("squeezed", "group norm"):  # these look at the whole volume
        slices = [flat(x_HW) for x_HW in x_BCDHW.unbind(2)]
        torch.testing.assert_close(convert(flat, Planar())(x_BCDHW), torch.stack(slices, 2))
    deep[1] = flat
    torch.testing.assert_close(deep[1](x_BCDHW), expected)


def test_the_first_layer_says_it_before_a_vector_of_the_whole_network_does():
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))
            self.num_features, self.scale = 8, nn.Parameter(torch.ones(10))

    assert likely_channels(Net(), 3, 1) == [4, 10, 3, 1]


def test_what_has_no_weights_is_tried_with_the_rest():
    assert likely_channels(nn.Sequential(nn.PReLU(), nn.AvgPool2d(2)), 3, 1) == [3, 1]


def test_a_stream_finds_the_channels_of_a_kernel_too():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.rand(5, CHANNELS, 3, 1, 1))

        def forward(self, x):
            return F.conv3d(F.pad(x, (0, 0, 0, 0, 2, 0)), self.kernel)

    assert stream(Causal().eval(), wait=True).init()


def test_an_input_of_a_network_without_values_takes_no_memory():
    network = nn.Conv2d(768, 1, 1, device="meta", dtype=torch.float16)
    x = random_input(network, (2, 768, 16384, 16384))
    assert (x.device.type, x.dtype, x.shape[1]) == ("meta", torch.float16, 768)
