import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d.errors import LeanError, ShapeError
from lean3d.ops.transposed import (
    ACSConvTranspose3d,
    MeanACSConvTranspose3d,
    PlanarConvTranspose3d,
    SoftACSConvTranspose3d,
)

OPERATORS = [
    ACSConvTranspose3d,
    MeanACSConvTranspose3d,
    SoftACSConvTranspose3d,
    PlanarConvTranspose3d,
]
SETTINGS = [
    dict(kernel_size=2, stride=2),
    dict(kernel_size=3, stride=2, padding=1, output_padding=1),
    dict(kernel_size=4, stride=(1, 2, 2), padding=1, groups=2),
    dict(kernel_size=3, stride=3, dilation=2, bias=False, groups=2),
    dict(kernel_size=(5, 5, 3), padding=(2, 2, 1)),
]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_output_has_the_shape_of_conv_transpose3d(operator, settings):
    x = torch.randn(2, 4, 5, 4, 3)
    assert operator(4, 6, **settings)(x).shape == nn.ConvTranspose3d(4, 6, **settings)(x).shape


@pytest.mark.parametrize("operator", OPERATORS)
def test_takes_the_arguments_of_conv_transpose3d(operator):
    positional = (4, 6, 3, 2, 1, 1, 2, False, 1, "zeros", "meta", torch.float64)
    names = list(inspect.signature(nn.ConvTranspose3d).parameters)
    op, dense = operator(*positional), nn.ConvTranspose3d(*positional)
    assert op.bias is None
    assert (op.weight.dtype, op.weight.is_meta) == (torch.float64, True)
    for name in set(names) - {"bias", "device", "dtype"}:
        assert getattr(op, name) == getattr(dense, name), name


@pytest.mark.parametrize("settings", SETTINGS[:4], ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_plane_is_the_2d_operator_and_the_third_axis_its_nearest_input(settings, axis):
    op = PlanarConvTranspose3d(4, 6, **settings, axis=axis).double()
    x = torch.randn(2, 4, 3, 4, 5, dtype=torch.float64)
    y = op(x)
    plane = [i for i in range(3) if i != axis]
    sizes = [op.stride, op.padding, op.output_padding]
    size = [[each[i] for i in plane] for each in sizes]
    flat = [
        F.conv_transpose2d(one, op.weight, op.bias, *size, op.groups, op.dilation[plane[0]])
        for one in x.unbind(2 + axis)
    ]
    span = op.dilation[axis] * (op.kernel_size[axis] - 1) + 1
    for place, one in enumerate(y.unbind(2 + axis)):
        # the continuous position this output has in the input, if kernels are centred
        where = (place + op.padding[axis] - (span - 1) / 2) / op.stride[axis]
        near = min(range(len(flat)), key=lambda i: (round(abs(i - where), 6), i))
        torch.testing.assert_close(one, flat[near])


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("split", [None, (5, 1, 0), (3, 2, 1), (0, 0, 6)])
def test_each_output_comes_from_its_own_view(groups, split):
    op = ACSConvTranspose3d(12, 6, 4, 2, 1, groups=groups, split=split)
    x = torch.randn(1, 12, 3, 4, 5)
    views = []
    for axis in range(3):
        view = PlanarConvTranspose3d(12, 6, 4, 2, 1, groups=groups, axis=axis)
        view.load_state_dict(op.state_dict())
        views.append(view(x).split(op.split, dim=1)[axis])
    torch.testing.assert_close(op(x), torch.cat(views, dim=1))


def test_mean_and_soft_are_weighted_sums_of_the_views():
    soft, mean = SoftACSConvTranspose3d(4, 6, 2, 2), MeanACSConvTranspose3d(4, 6, 2, 2)
    mean.load_state_dict(soft.state_dict(), strict=False)
    x = torch.randn(1, 4, 3, 4, 5)
    torch.testing.assert_close(soft(x), mean(x))
    planar = PlanarConvTranspose3d(4, 6, 2, 2, axis=1)
    planar.load_state_dict(mean.state_dict())
    with torch.no_grad():
        soft.views[:, 1] = 100
    torch.testing.assert_close(soft(x), planar(x))


@pytest.mark.parametrize("operator", OPERATORS)
def test_gradients_are_those_of_finite_differences(operator):
    op = operator(2, 4, 3, 2, 1, 1).double()
    x = torch.randn(1, 2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(op, (x,))


@pytest.mark.parametrize("operator", OPERATORS)
def test_autocast_gives_the_low_precision(operator):
    op, x = operator(2, 4, 2, 2), torch.randn(1, 2, 3, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert op(x).dtype == torch.bfloat16


@pytest.mark.parametrize("operator", OPERATORS)
def test_can_be_moved_to_channels_last(operator):
    op, x = operator(2, 4, 2, 2), torch.randn(1, 2, 3, 4, 5)
    expected = op(x)
    op, x = (each.to(memory_format=torch.channels_last_3d) for each in (op, x))
    torch.testing.assert_close(op(x), expected)


BAD = [
    (dict(groups=3), "multiples of groups"),
    (dict(padding_mode="reflect"), "padding_mode"),
    (dict(output_padding=2, stride=2), "output_padding"),
    (dict(stride=0), "at least 1"),
    (dict(padding=-1), "at least 0"),
    (dict(stride=2**31), "stride is a number 1 or more and at most"),
    (dict(dilation=10**30), "dilation is a number 1 or more"),
    (dict(padding=(0, 0, 10**30)), "padding is a number 0 or more"),
    (dict(split=8), "split is a tuple of 3"),
]


@pytest.mark.parametrize(("bad", "why"), BAD, ids=lambda value: str(value))
def test_refuses_what_it_cannot_compute(bad, why):
    with pytest.raises(ValueError, match=why):
        ACSConvTranspose3d(4, 8, 3, **bad)


@pytest.mark.parametrize("operator", OPERATORS)
def test_without_values_there_are_only_shapes(operator):
    op, x = operator(2, 4, 2, 2, device="meta"), torch.zeros(1, 2, 3, 4, 5)
    with pytest.raises(LeanError, match="no values, its weights are on the meta device"):
        op(x)
    assert op(x.to("meta")).shape == operator(2, 4, 2, 2)(x).shape


def test_refuses_an_axis_or_a_split_that_is_none():
    with pytest.raises(ValueError, match="axis"):
        PlanarConvTranspose3d(4, 8, 3, axis=3)
    with pytest.raises(ValueError, match="sums to out_channels=8"):
        ACSConvTranspose3d(4, 8, 3, split=(1, 2, 3))


def test_refuses_an_image_and_says_how_to_fix_it():
    with pytest.raises(ShapeError, match=r"unsqueeze\(2\)"):
        ACSConvTranspose3d(4, 8, 3)(torch.randn(1, 4, 5, 5))
