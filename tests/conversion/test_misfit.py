"""A volume that does not fit is refused with the axis, and a size that fits."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d import ACS, Planar, ShapeError, convert, create_model, unconvert


class Joins(nn.Module):
    """A U-Net of two levels."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, 2, 1)
        self.up, self.c = nn.ConvTranspose2d(8, 4, 2, 2), nn.LazyConv2d(2, 1)

    def forward(self, x):
        skip = self.a(x)
        up = self.up(self.b(skip))
        if self.how == "cat":
            return self.c(torch.cat((up, skip), 1))
        if self.how == "resized":  # this forward runs with depth merged into the batch
            return self.c(F.interpolate(up, scale_factor=2) + F.interpolate(skip, scale_factor=2))
        return self.c(up + skip if self.how == "add" else up * skip)


def made(how):
    model = Joins(how).eval()
    model(torch.zeros(1, 1, 8, 8))
    return model


@pytest.mark.parametrize("how", ["cat", "add", "mul", "resized"])
@pytest.mark.parametrize("method", [ACS(), Planar()])
def test_a_join_names_the_axis_and_a_size_that_fits(how, method):
    deep = convert(made(how), method)
    for copied in deep, copy.deepcopy(deep), pickle.loads(pickle.dumps(deep)):
        with pytest.raises(
            ShapeError, match=r"joins maps of (6 and 5|12 and 10) voxels along axis 2"
        ) as at:
            copied(torch.randn(1, 1, 5, 16, 16))
        assert "(D, H, W) = (5, 16, 16); (6, 16, 16) fits: pad depth from 5 to 6 (" in str(at.value)
        assert len(str(at.value)) <= 400
    assert deep(torch.randn(1, 1, 6, 16, 16)).shape[1] == 2


def test_every_axis_that_does_not_fit_is_named_and_no_other():
    deep = convert(made("cat"), ACS())
    with pytest.raises(ShapeError, match="pad depth from 5 to 6 and width from 15 to 16 "):
        deep(torch.randn(1, 1, 5, 16, 15))


def test_a_size_that_a_forward_asserts_is_looked_for_too():
    class Asserts(nn.Sequential):
        def forward(self, x):
            assert x.shape[-1] % 32 == 0, "the width is a multiple of 32"
            return super().forward(x)

    deep = convert(Asserts(nn.Conv2d(1, 1, 3, padding=1)), ACS())
    with pytest.raises(ShapeError, match=r"width from 40 to 64 \(the width is a multiple of 32\)"):
        deep(torch.randn(1, 1, 8, 8, 40))


def test_other_errors_stay_as_they_are():
    class Fails(nn.Sequential):
        def forward(self, x):
            if not x.is_meta and x.sum() > 1e6:
                raise RuntimeError("not this volume")
            return super().forward(x)

    deep = convert(Fails(nn.Conv2d(1, 1, 3)), ACS())
    with pytest.raises(RuntimeError, match=r"^not this volume$"):
        deep(torch.full((1, 1, 8, 8, 8), 1e6))
    with pytest.raises(ShapeError, match=r"ACSConv3d takes \(B, C=1, D, H, W\)"):
        deep(torch.randn(1, 3, 8, 8, 8))


def test_a_network_is_of_its_own_class_and_2d_again_without_a_trace():
    flat = create_model("unet2d", widths=(4, 6))
    deep = convert(flat, ACS())
    assert isinstance(deep, type(flat))
    assert type(deep).__name__ == type(flat).__name__
    assert type(unconvert(deep)) is type(flat)
