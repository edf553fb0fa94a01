import pytest
import torch
from torch import nn

from lean3d.errors import LeanError
from lean3d.infer.reach import network_reach
from lean3d.models import create_model

UNET = dict(widths=(2, 2), skip="full", narrow=True, num_classes=1)


@pytest.mark.parametrize(("kernel", "dilation", "expected"), [(1, 1, 0), (3, 1, 1), (5, 2, 4)])
def test_a_convolution_looks_half_its_kernel_to_either_side(kernel, dilation, expected):
    conv = nn.Conv2d(1, 1, kernel, padding=expected, dilation=dilation)
    assert network_reach(conv, 1, 2) == ((expected, expected), (1, 1))


def test_pools_have_a_grid_and_depth_may_have_none():
    reach, step = network_reach(create_model("unet3d", keep_depth=1, **UNET), 1, 3)
    assert step == (1, 2, 2)
    # conv, conv, pool, conv, conv, unpool, conv, conv
    assert reach == (6, 9, 9)


def test_a_window_with_its_reach_gives_the_outputs_of_the_whole():
    torch.manual_seed(0)
    model = create_model("unet2d", **UNET | dict(widths=(8, 8))).eval()
    (reach, _), (step, _) = network_reach(model, 1, 2)
    x = torch.randn(1, 1, 40, 60)
    first = (20 - reach) // step * step
    with torch.no_grad():
        whole, part = model(x), model(x[..., first : 28 + reach])
    torch.testing.assert_close(part[..., 20 - first : 28 - first], whole[..., 20:28])
    cut = model(x[..., first + step : 28 + reach])[..., 20 - first - step : 28 - first - step]
    assert (cut - whole[..., 20:28]).abs().max() > 0


def test_refuses_a_network_that_looks_everywhere():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.InstanceNorm2d(2))
    with pytest.raises(LeanError, match="depends on the whole input"):
        network_reach(model, 1, 2)


@pytest.mark.parametrize(("pools", "expected"), [((3, 3, 3), 27), ((2,) * 5, 32), ((3, 2), 6)])
def test_the_step_is_that_of_all_pools(pools, expected):
    down = [nn.MaxPool2d(pool, ceil_mode=True) for pool in pools]
    up = [nn.Upsample(scale_factor=pool) for pool in pools]

    class Cut(nn.Module):
        def forward(self, x):
            return nn.Sequential(*down, *up)(x)[..., : x.shape[-2], : x.shape[-1]]

    _, step = network_reach(Cut(), 1, 2)
    assert step == (expected, expected)


def test_the_network_of_funke_has_a_step_of_27_in_the_plane():
    model = create_model("unet3d_funke", widths=(2, 2, 2, 2))
    reach, step = network_reach(model, 1, 3)
    assert step == (1, 27, 27)
    # what the same convolutions take off without padding, 84 - 56 and 268 - 56, is from both sides
    assert reach[0] == 14
    assert 2 * reach[1] >= 268 - 56
