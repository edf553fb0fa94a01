import copy

import pytest
import torch
from torch import nn

from lean3d.errors import LeanError
from lean3d.ops import ACSConv3d, AtomConv3d, SpaceTimeConv3d
from lean3d.ops.dilation import dilate, is_plain

X = torch.randn(2, 2, 9, 10, 11)


def spread(kernel, time, space):
    """The kernel with zeros between its taps."""
    size = [(k - 1) * f + 1 for k, f in zip(kernel.shape[2:], (time, space, space), strict=True)]
    wide = kernel.new_zeros(*kernel.shape[:2], *size)
    wide[:, :, ::time, ::space, ::space] = kernel
    return wide


@pytest.mark.parametrize("kernel", [3, (1, 3, 3), (3, 1, 1), (5, 3, 1)])
@pytest.mark.parametrize(("time", "space"), [(1, 2), (2, 1), (2, 3)])
def test_the_output_is_that_of_a_kernel_with_zeros_between_its_taps(kernel, time, space):
    conv = nn.Conv3d(2, 4, kernel, padding=1, groups=2)
    if conv.kernel_size == (5, 3, 1):
        conv.padding = (2, 1, 0)
    plain = conv(X)
    wide = spread(conv.weight.data, time, space)
    pads = [
        p + (w - k) // 2
        for p, w, k in zip(conv.padding, wide.shape[2:], conv.kernel_size, strict=True)
    ]
    expected = nn.functional.conv3d(X, wide, conv.bias, 1, pads, 1, 2)
    found = dilate(conv, space=space, time=time)(X)
    assert found.shape == plain.shape
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("padding", [0, 1, "same", "valid"])
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_the_size_stays_and_one_restores_the_convolution(padding, mode):
    conv = nn.Conv3d(2, 3, 3, padding=padding, padding_mode=mode)
    before = conv(X)
    assert dilate(conv, space=2, time=2)(X).shape == before.shape
    assert dilate(conv, space=2)(X).shape == before.shape
    torch.testing.assert_close(dilate(conv)(X), before)
    torch.testing.assert_close(copy.deepcopy(dilate(conv, time=2))(X), conv(X))


def test_padding_by_copies_grows_with_the_kernel():
    conv = nn.Conv3d(1, 1, 3, padding=1, padding_mode="replicate", bias=False)
    conv.weight.data.fill_(1 / 27)
    x = torch.full((1, 1, 5, 5, 5), 7.0)
    torch.testing.assert_close(dilate(conv, space=2, time=2)(x), x)


def test_a_dilation_it_was_built_with_is_multiplied():
    conv = nn.Conv3d(2, 3, 3, padding=2, dilation=2)
    assert dilate(dilate(conv, space=2, time=3), space=2).dilation == (2, 4, 4)
    assert conv.padding == (2, 4, 4)


def test_an_even_kernel_is_refused_where_its_padding_would_be_uneven():
    with pytest.raises(LeanError, match=r"kernel of 2 x 3 x 3 dilated by \(2, 1, 1\) needs uneven"):
        dilate(nn.Conv3d(1, 1, (2, 3, 3)), time=2)
    assert dilate(nn.Conv3d(1, 1, (2, 3, 3)), space=2).dilation == (1, 2, 2)
    with pytest.raises(LeanError, match="factors are at least 1, got space=0"):
        dilate(nn.Conv3d(1, 1, 3), space=0)


def test_only_convolutions_that_compute_as_torch_does_are_plain():
    assert is_plain(nn.Conv3d(1, 1, 3))
    assert is_plain(SpaceTimeConv3d(1, 1, 3).spatial)
    assert not any(map(is_plain, (AtomConv3d(1, 1, 3), ACSConv3d(3, 3, 3), nn.Conv2d(1, 1, 3))))
