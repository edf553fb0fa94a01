"""Every way of lifting, for every way of running a forward on volumes."""

from inspect import isabstract

import pytest
import torch
import torch.nn.functional as F
from flat_models import SqueezeExcite
from torch import nn

from lean3d import conversion
from lean3d.conversion import ACS, Inflate, MeanACS, Planar, PlaneCycle, SoftACS, convert
from lean3d.conversion.to3d.base import To3D

INFLATED = [Inflate(3, fill, pad) for fill in ("mean", "center") for pad in ("replicate", "zeros")]
HOWS = [ACS(), MeanACS(), SoftACS(), *[Planar(axis=axis) for axis in (0, 1, 2)], *INFLATED]


def test_every_method_is_under_contract():
    public = (getattr(conversion, name) for name in conversion.__all__)
    methods = {kind for kind in public if isinstance(kind, type) and issubclass(kind, To3D)}
    # that one has no operators: test_plane_cycle.py holds it
    under = {type(how) for how in HOWS} | {PlaneCycle}
    assert under == {kind for kind in methods if not isabstract(kind)}


class Modules(nn.Sequential):
    """Runs as it is."""

    def __init__(self):
        down = nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)
        up = nn.ConvTranspose2d(6, 4, 2, 2), nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 1)
        super().__init__(nn.Conv2d(2, 4, 3, padding=1), *down, *up)


class Height(nn.Module):
    """Depth in height: voxels alone, or all of them at once."""

    def __init__(self):
        super().__init__()
        self.stem, self.gate = nn.Conv2d(2, 4, 3, padding=1), SqueezeExcite(4)
        self.norm, self.out = nn.LayerNorm(4), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        y = self.gate(self.stem(x))
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).flatten(1, 2)
        return self.out(self.norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Batch(nn.Module):
    """Depth in the batch: neighbours, and kernels that are computed."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(2, 4, 3, padding=1), Standardised(4, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 3, 3)

    def forward(self, x):
        y = F.max_pool2d(self.conv(self.stem(x)), 2)
        y = F.interpolate(y, size=x.shape[2:], mode="bilinear") * y.mean((2, 3), keepdim=True)
        return self.out(F.pad(y, (1, 1, 1, 1)))


FORWARDS = {"modules": Modules, "height": Height, "batch": Batch}


def build(name):
    torch.manual_seed(0)
    return FORWARDS[name]().eval()


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("name", FORWARDS)
def test_every_forward_is_lifted_every_way(name, how):
    deep = convert(build(name), how)
    assert deep.conversion.grade == "isotropic"
    y = deep.train()(torch.randn(2, 2, 8, 12, 16))
    assert y.shape == (2, 3, 8, 12, 16)
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in deep.parameters())


# zeros beyond the first and last slice spoil these
KEEP_2D = [how for how in HOWS[3:] if how != Inflate(3, "mean", "zeros")]


@pytest.mark.parametrize("how", KEEP_2D, ids=str)
@pytest.mark.parametrize("name", FORWARDS)
def test_an_image_repeated_across_its_plane_gets_the_2d_answer(name, how):
    flat, axis = build(name), 2 + getattr(how, "axis", 0)
    image = torch.randn(2, 2, 12, 16)
    with torch.no_grad():
        expected = flat(image).unsqueeze(axis)
        found = convert(flat, how)(image.unsqueeze(axis).repeat_interleave(8, axis))
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-4
