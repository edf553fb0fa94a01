"""Sizes that a forward computes from the height of a map are computed from its depth too."""

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from test_same_padding import ForAChild, OnlyIfNeeded
from torch import nn

from lean3d import ACS, Inflate, Planar, convert, unconvert
from lean3d.conversion.to3d.merged.sides import Side, along_depth, plain
from lean3d.errors import ConversionError


class Net(nn.Module):
    def __init__(self, *settings):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 3, *settings or (3, 1, 1))


class SizePlusTwo(Net):
    def forward(self, x):
        height, width = x.shape[2:]
        return F.interpolate(self.conv(x), size=(height + 2, width + 2))


class TwiceAndOne(Net):
    def forward(self, x):
        y = self.conv(x)
        return F.interpolate(y, size=(2 * y.shape[2] + 1, 2 * y.shape[3] + 1), mode="bilinear")


class PadToMultiple(Net):
    """As networks with skips do with any image: pad, run, crop."""

    def __init__(self):
        super().__init__(8, 8)

    def forward(self, x):
        height, width = x.shape[-2:]
        y = self.conv(F.pad(x, (0, -width % 8, 0, (8 - height % 8) % 8)))
        return F.interpolate(y, scale_factor=8)[:, :, :height, :width]


class PadRoundedUp(Net):
    def forward(self, x):
        height, width = x.size(2), x.size(3)
        tall, wide = math.ceil(height / 8) * 8, math.ceil(width / 8) * 8
        return F.max_pool2d(self.conv(F.pad(x, (0, wide - width, 0, tall - height))), 8)


class HalfCrop(Net):
    def forward(self, x):
        y = self.conv(x)
        height, width = y.shape[2] // 2, y.shape[3] // 2
        return F.max_pool2d(y[:, :, :height, :width], 2)


class MiddleCrop(Net):
    def forward(self, x):
        y = self.conv(x)
        height, width = y.shape[2:]
        y = y[:, :, height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2]
        return F.avg_pool2d(y, 2)


class AdaptiveHalf(Net):
    def forward(self, x):
        y = self.conv(x)
        height, width = y.shape[2:]
        return F.adaptive_avg_pool2d(y, (height // 2, width // 2))


class QuarterWindow(Net):
    def forward(self, x):
        y = self.conv(x)
        height, width = y.shape[2:]
        return F.avg_pool2d(y, (height // 4, width // 4))


KINDS = [SizePlusTwo, TwiceAndOne, PadToMultiple, PadRoundedUp, HalfCrop, MiddleCrop]
KINDS += [AdaptiveHalf, QuarterWindow]
SIZES = [(13, 18, 16), (18, 13, 16), (8, 20, 10)]


@pytest.mark.parametrize("how", [ACS(), Inflate()], ids=lambda how: type(how).__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_depth_has_the_size_that_height_would_have(kind, how):
    model = kind().eval()
    deep = convert(model, how)
    assert deep.conversion.grade == "isotropic"
    for depth, height, width in SIZES:
        found = deep(torch.randn(1, 2, depth, height, width)).shape
        wide, tall = (model(torch.randn(1, 2, side, width)).shape for side in (height, depth))
        assert found == (*wide[:2], tall[2], *wide[2:])


@pytest.mark.parametrize("kind", KINDS)
def test_values_along_depth_are_those_along_height(kind):
    model = kind().eval().double()
    image = torch.randn(1, 2, 21, 18, dtype=torch.float64)
    found = convert(model, Planar(axis=1))(image.unsqueeze(3).repeat_interleave(32, 3))
    torch.testing.assert_close(found[:, :, :, found.shape[3] // 2], model(image))


def test_a_kept_depth_stays():
    deep = convert(PadToMultiple().eval(), Planar(keep_depth=None))
    for depth in (5, 8):
        assert deep(torch.randn(1, 2, depth, 18, 20)).shape == (1, 3, depth, 18, 20)


@pytest.mark.parametrize("kind", [PadToMultiple, HalfCrop])
def test_copies_batches_and_the_2d_model(kind):
    model, x = kind().eval(), torch.randn(2, 2, 9, 12, 11)
    deep = convert(model, ACS())
    for twin in (pickle.loads(pickle.dumps(deep)), copy.deepcopy(deep)):
        torch.testing.assert_close(twin(x), deep(x))
    torch.testing.assert_close(torch.cat([deep(x[:1]), deep(x[1:])]), deep(x))
    with torch.inference_mode():
        torch.testing.assert_close(deep(x), deep(x))
    back = unconvert(deep)
    torch.testing.assert_close(back(x[:, :, 0]), model(x[:, :, 0]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_compilers_are_told_that_they_cannot_follow():
    deep, x = convert(PadToMultiple().eval(), ACS()), torch.randn(1, 2, 9, 12, 11)
    with pytest.raises(ConversionError, match="PadToMultiple computes sizes in its forward"):
        torch.export.export(deep, (x,), strict=False)
    traced = torch.jit.trace(deep, (x,), check_trace=False)
    torch.testing.assert_close(traced(x), deep(x))


@pytest.mark.parametrize("kind", [ForAChild, OnlyIfNeeded])
def test_what_other_rules_say_is_left_to_compilers(kind):
    deep, x = convert(kind().eval(), ACS()), torch.randn(1, 2, 9, 12, 11)
    again = torch.export.export(deep, (x,), strict=False).module()
    torch.testing.assert_close(again(x), deep(x))


class Gates(nn.Module):
    """Two images of other sizes, each times a mean of the other."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 1)

    def forward(self, x, y):
        x, y = self.a(x), self.b(y)
        return x * y.mean((2, 3), keepdim=True), y * x.mean((2, 3), keepdim=True)


def test_volumes_that_look_alike_once_merged_are_kept_apart():
    example = torch.randn(1, 2, 24, 20), torch.randn(1, 2, 36, 20)
    deep = convert(Gates().eval(), ACS(), example=example)
    x, y = torch.randn(1, 2, 4, 8, 6), torch.randn(1, 2, 8, 4, 6)
    found = deep(x, y)
    assert [tuple(one.shape[2:]) for one in found] == [(4, 8, 6), (8, 4, 6)]
    a, b = deep.a(x), deep.b(y)
    torch.testing.assert_close(found[0], a * b.mean((2, 3, 4), keepdim=True))
    torch.testing.assert_close(found[1], b * a.mean((2, 3, 4), keepdim=True))


def test_a_side_is_its_height_and_carries_its_depth():
    side = Side(33, 20, whole=True)
    assert side == 33
    assert hash(side) == hash(33)
    assert f"{side}" == "33"
    made = [side + 2, 2 * side, side // 2, -side % 8, math.ceil(side / 2), round(side * 0.5)]
    made += [divmod(side, 8)[1], side - Side(30, 10), 100 - side]
    assert [plain(one) for one in made] == [35, 66, 16, 7, 17, 16, 1, 3, 67]
    assert [along_depth(one) for one in made] == [22, 40, 10, 4, 10, 10, 4, 10, 80]
    assert not any(one.whole for one in made)
    assert type(pickle.loads(pickle.dumps(side))) is int
    assert plain(8 // Side(3, 0)) == 2
    assert along_depth((side, 7)) == (20, 7)
