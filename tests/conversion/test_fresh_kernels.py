"""Inflate(fill="fresh"): the 3D network of a 2D one, with kernels of its own."""

import pytest
import torch
from flat_models import ResNet
from torch import nn

from lean3d.conversion import Inflate, convert
from lean3d.networks.operators import conversion

FRESH = Inflate(depth=None, fill="fresh", pad="zeros")


def kernels(model):
    return {p: m.weight for p, m in model.named_modules() if isinstance(m, nn.Conv3d)}


def test_every_kernel_is_drawn_as_nn_conv3d_draws_it():
    flat = ResNet().eval()
    torch.manual_seed(0)
    model = convert(flat, FRESH)
    assert conversion("conv3d") == FRESH
    inflated = convert(flat, conversion("i3d"))
    for path, kernel in kernels(model).items():
        assert kernel.shape == kernels(inflated)[path].shape
        assert kernel.requires_grad
        # uniform within 1 / sqrt(fan_in), and not the same in every slice
        bound = kernel[0].numel() ** -0.5
        assert 0.5 * bound < kernel.abs().max() <= bound
        if kernel.shape[2] > 1:
            assert not torch.allclose(kernel[:, :, 0], kernel[:, :, 1])
    torch.manual_seed(0)
    again = convert(flat, FRESH)
    assert all(torch.equal(x, again.state_dict()[n]) for n, x in model.state_dict().items())
    other = kernels(convert(flat, FRESH))
    assert not any(torch.equal(x, other[path]) for path, x in kernels(model).items())


def test_the_record_says_what_was_kept_and_the_conversion_is_checked():
    flat = ResNet().eval()
    record = convert(flat, FRESH).conversion
    assert record.grade in ("isotropic", "planar")
    assert all(check.passed for check in record.checks)
    kept = {row.after.partition("(")[0]: row.kept for row in record.rows}
    assert kept["Conv3d"] is False
    assert kept["BatchNorm3d"] is True


@pytest.mark.parametrize("depth", [3, None])
def test_tied_kernels_stay_tied_and_transposed_ones_are_fresh(depth):
    first, second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    second.weight = first.weight
    flat = nn.Sequential(first, second, nn.ConvTranspose2d(4, 2, 2, 2))
    model = convert(flat, Inflate(depth=depth, fill="fresh"))
    assert model[0].weight is model[1].weight
    up = model[2].weight
    assert not torch.allclose(up[:, :, 0], up[:, :, 1])
    assert model(torch.randn(1, 4, 3, 4, 5)).shape == (1, 2, 6, 8, 10)
