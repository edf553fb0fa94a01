"""Padding for ceil(size / stride) outputs, call by call: depth by its size, height by its own."""

import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d import ACS, Inflate, Planar, convert, unconvert
from lean3d.conversion.to3d.base import DepthMerge


def total(size, kernel, stride):
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)


def pad(x, kernel, stride, value=0.0, mode="constant"):
    tall, wide = (total(size, kernel, stride) for size in x.shape[-2:])
    pads = (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)
    return F.pad(x, pads, mode, value) if mode == "constant" else F.pad(x, pads, mode)


def pad_if_needed(x, kernel, stride):
    needed = any(total(size, kernel, stride) for size in x.shape[-2:])
    return pad(x, kernel, stride) if needed else x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Parameter(torch.randn(4, 2, 3, 3) / 4)
        self.b = nn.Parameter(torch.randn(4, 4, 3, 3) / 4)
        self.conv, self.pool = nn.Conv2d(2, 4, 3, stride=2), nn.MaxPool2d(3, 2)


class BesideAPool(Net):
    def forward(self, x):
        return F.max_pool2d(F.conv2d(pad(x, 3, 2), self.a, None, 2), 2)


class BesideAConvolution(Net):
    def forward(self, x):
        return F.conv2d(F.conv2d(pad(x, 3, 2), self.a, None, 2), self.b)


class AfterAPool(Net):
    def forward(self, x):
        return F.conv2d(pad(F.avg_pool2d(x, 3, 2), 3, 2), self.a, None, 2)


class BesideFixed(Net):
    def forward(self, x):
        y = F.conv2d(pad(x, 3, 2), self.a, None, 2)
        return F.max_pool2d(F.pad(y, (1, 1, 1, 1), value=-math.inf), 3, 2)


class OnlyIfNeeded(Net):
    def forward(self, x):
        y = F.conv2d(pad_if_needed(x, 3, 2), self.a, None, 2)
        return F.avg_pool2d(pad_if_needed(y, 2, 2), 2)


class TwoReaders(Net):
    def forward(self, x):
        y = pad(x, 3, 2)
        return F.conv2d(y, self.a, None, 2) + F.max_pool2d(y, 3, 2).sum(1, keepdim=True)


class Mirrored(Net):
    def forward(self, x):
        return F.max_pool2d(F.conv2d(pad(x, 3, 2, mode="reflect"), self.a, None, 2), 2)


class Powers(Net):
    def forward(self, x):
        return F.lp_pool2d(pad(x, 3, 2), 2.0, 3, 2)


class Again(Net):
    def forward(self, x):
        for _ in range(2):
            x = F.avg_pool2d(pad(x, 3, 2), 3, 2)
        return F.max_pool2d(x, 2)


class ForAChild(Net):
    def forward(self, x):
        return F.max_pool2d(self.conv(pad(x, 3, 2)), 2)


class ForAChildIfNeeded(Net):
    def forward(self, x):
        return F.max_pool2d(F.relu(self.conv(pad_if_needed(x, 3, 2))), 2)


class ForAPool(Net):
    def forward(self, x):
        return F.avg_pool2d(self.pool(pad(self.conv(x), 3, 2, -math.inf)), 2)


KINDS = [BesideAPool, BesideAConvolution, AfterAPool, BesideFixed, OnlyIfNeeded, TwoReaders]
KINDS += [Mirrored, Powers, Again, ForAChild, ForAChildIfNeeded, ForAPool]
HOWS = [ACS(), Planar(), Inflate()]


@pytest.mark.parametrize("how", HOWS, ids=lambda how: type(how).__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_depth_has_the_size_that_height_would_have(kind, how):
    model = kind().eval()
    deep = convert(model, how)
    assert deep.conversion.grade == "isotropic"
    for depth, height in ((33, 32), (32, 33), (31, 40), (40, 31)):
        volume = deep(torch.randn(1, 2, depth, height, 20))
        wide, tall = (model(torch.randn(1, 2, side, 20)).shape for side in (height, depth))
        assert volume.shape[2:] == (tall[2], *wide[2:])


@pytest.mark.parametrize("kind", KINDS)
def test_values_along_depth_are_those_along_height(kind):
    """A slice kernel turned into the (D, W) plane gives the 2D output there."""
    model = kind().eval().double()
    image = torch.randn(1, 2, 33, 20, dtype=torch.float64)
    found = convert(model, Planar(axis=1))(image.unsqueeze(3).repeat_interleave(32, 3))
    middle = found[:, :, :, found.shape[3] // 2]
    torch.testing.assert_close(middle, model(image))


def test_a_kept_depth_is_not_padded():
    model = convert(ForAChild().eval(), Planar(keep_depth=None))
    for depth in (5, 6):
        assert model(torch.randn(1, 2, depth, 33, 20)).shape[2] == depth


@pytest.mark.parametrize("kind", [ForAChild, BesideAPool])
def test_copies_and_the_2d_model_stay_the_same(kind):
    model, x = kind().eval(), torch.randn(1, 2, 9, 12, 11)
    deep = convert(model, ACS())
    torch.testing.assert_close(pickle.loads(pickle.dumps(deep))(x), deep(x))
    back = unconvert(deep)
    assert not [m for m in back.modules() if "_same" in vars(m)]
    torch.testing.assert_close(back(x[:, :, 0]), model(x[:, :, 0]))


def test_one_flag_of_stored_models_is_that_of_all_windows():
    stored = DepthMerge(ACS(), stack=True)
    vars(stored)["same"] = True
    assert pickle.loads(pickle.dumps(stored)).same == (True,)
