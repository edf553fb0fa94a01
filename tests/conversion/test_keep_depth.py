"""keep_depth: the first downsamplings, and what undoes them, leave depth alone."""

import pytest
import torch
import torch.nn.functional as F
from flat_models import ResNet, vgg
from torch import nn

from lean3d.conversion import ACS, ConversionError, Inflate, Planar, SoftACS, convert
from lean3d.models import create_model


class Hourglass(nn.Module):
    """Three levels with skips; both kinds of upsampling."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 4, 3, padding=1)
        self.pool1 = nn.MaxPool2d(2)
        self.b = nn.Conv2d(4, 4, 3, 2, 1)
        self.pool3 = nn.AvgPool2d(2)
        self.up3 = nn.ConvTranspose2d(4, 4, 2, 2)
        self.up2 = nn.Upsample(scale_factor=2, mode="bilinear")
        self.up1 = nn.ConvTranspose2d(4, 4, 4, 2, 1)

    def sizes(self, x):
        a = self.a(x)
        b = self.pool1(a)
        c = self.b(b)
        d = self.pool3(c)
        return [d, self.up3(d) + c, self.up2(c) + b, self.up1(b) + a]

    def forward(self, x):
        return self.sizes(x)


@pytest.mark.parametrize("how", [ACS, SoftACS, Planar, Inflate])
@pytest.mark.parametrize(
    ("keep", "depths"),
    [(0, [2, 4, 8, 16]), (1, [4, 8, 16, 16]), (2, [8, 16, 16, 16]), (None, [16] * 4)],
)
def test_depth_shrinks_only_after_the_kept_downsamplings(how, keep, depths):
    deep = convert(Hourglass(), how(keep_depth=keep))
    outputs = deep(torch.randn(1, 1, 16, 24, 32))
    assert [y.shape[2] for y in outputs] == depths
    assert [y.shape[3] for y in outputs] == [3, 6, 12, 24]
    assert deep.conversion.grade == ("planar" if keep != 0 else "isotropic")


def test_strided_branches_of_one_block_count_once():
    deep = convert(ResNet(), ACS(keep_depth=3))
    assert deep.stem.stride == (1, 2, 2)
    assert deep.pool.stride == (1, 2, 2)
    assert deep.blocks[1].conv1.stride == deep.blocks[1].down[0].stride == (1, 2, 2)
    assert deep.blocks[2].conv1.stride == deep.blocks[2].down[0].stride == (2, 2, 2)


def test_a_kernel_that_would_change_the_depth_is_laid_flat():
    deep = convert(nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU()), ACS(keep_depth=1))
    assert deep(torch.randn(1, 3, 7, 16, 16)).shape == (1, 4, 7, 4, 4)


def test_the_rest_of_a_depth_keeping_model_is_still_shown_to_be_isotropic():
    checks = convert(vgg(), ACS(keep_depth=1)).conversion.checks
    assert any(check.name.startswith("(c)") and check.passed for check in checks)


def test_pixel_shuffles_keep_depth_too():
    flat = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 12, 3, padding=1), nn.PixelShuffle(2))
    deep = convert(flat, ACS(keep_depth=1))
    assert deep(torch.randn(1, 3, 5, 8, 6)).shape == (1, 3, 5, 8, 6)


def test_refuses_more_than_there_are():
    with pytest.raises(ConversionError, match="downsamples 2 times"):
        convert(vgg(), ACS(keep_depth=3))


def test_refuses_a_pool_used_on_both_sides_of_the_limit():
    pool = nn.MaxPool2d(2)
    with pytest.raises(ConversionError, match="both sides of keep_depth"):
        convert(nn.Sequential(pool, nn.Conv2d(3, 3, 3, padding=1), pool), ACS(keep_depth=1))


def test_refuses_an_upsampling_that_jumps_over_the_limit():
    flat = nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Upsample(scale_factor=4))
    with pytest.raises(ConversionError, match="past the resolution"):
        convert(flat, ACS(keep_depth=1))
    assert convert(flat, ACS(keep_depth=2)).conversion.grade == "planar"


def test_works_on_the_meta_device():
    with torch.device("meta"):
        deep = convert(Hourglass(), ACS(keep_depth=1))
    assert deep.pool1.stride == (1, 2, 2)
    assert deep.b.stride == (2, 2, 2)


def blur(x):
    kernel = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])).expand(4, 1, 3, 3) / 16
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel.to(x), stride=2, groups=4)


# one halving of height each, by functions
HALVINGS = {
    "maximum": lambda x: F.max_pool2d(x, 3, 2, 1),
    "average": lambda x: F.avg_pool2d(x, 2),
    "blur": blur,
    "interpolate": lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear"),
    "interpolate to a size": lambda x: F.interpolate(x, size=[n // 2 for n in x.shape[2:]]),
    "every other": lambda x: x[:, :, ::2, ::2],
    "space to depth": lambda x: F.pixel_unshuffle(x, 2)[:, ::4],
}


class Functional(nn.Module):
    """Three halvings in one forward, and back up: to sizes seen and by factors."""

    def __init__(self, halve):
        super().__init__()
        self.halve, self.conv = halve, nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        a = self.halve(self.conv(x))
        b = self.halve(self.conv(a))
        c = self.halve(b)
        up = F.interpolate(c, scale_factor=2.0) + b
        return [c, up, F.interpolate(up, size=a.shape[2:]) + a, F.interpolate(a, scale_factor=2)]


@pytest.mark.parametrize("name", HALVINGS)
@pytest.mark.parametrize(
    ("keep", "depths"), [(1, [4, 8, 16, 16]), (2, [8, 16, 16, 16]), (None, [16] * 4)]
)
def test_functions_leave_depth_alone_too(name, keep, depths):
    image = torch.randn(2, 4, 32, 24)
    deep = convert(Functional(HALVINGS[name]), ACS(keep_depth=keep), example=image)
    outputs = deep(torch.randn(1, 4, 16, 32, 24))
    assert [y.shape[2] for y in outputs] == depths
    assert [y.shape[3] for y in outputs] == [4, 8, 16, 32]


class Same(nn.Conv2d):
    """Padded for ceil(size / stride) outputs."""

    def forward(self, x):
        pads = []
        for axis in (1, 0):
            total = max((-(-x.shape[2 + axis] // 2) - 1) * 2 + 3 - x.shape[2 + axis], 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, 2)


@pytest.mark.parametrize(("keep", "depth"), [(1, 8), (2, 16), (None, 16)])
def test_padding_made_for_a_size_is_none_where_depth_is_kept(keep, depth):
    deep = convert(nn.Sequential(Same(3, 4, 3, 2), Same(4, 4, 3, 2)), ACS(keep_depth=keep))
    assert deep(torch.randn(1, 3, 16, 32, 24)).shape == (1, 4, depth, 8, 6)


def test_depth_16_goes_through_a_stride_of_32():
    deep = convert(nn.Sequential(*[nn.Conv2d(3, 3, 3, 2, 1) for _ in range(5)]), ACS(keep_depth=1))
    assert deep(torch.randn(1, 3, 16, 64, 96)).shape == (1, 3, 1, 2, 3)


def test_a_forward_that_resizes_to_the_size_of_another_map_keeps_depth_as_it_is():
    flat = create_model("unet2d", widths=(4, 6), num_classes=2)
    for keep, depth in ((1, 6), (2, 5), (None, 3)):
        deep = convert(flat, ACS(keep_depth=keep))
        assert deep(torch.randn(1, 1, depth, 8, 8)).shape == (1, 2, depth, 8, 8)


class Pad(nn.Module):
    def forward(self, x):
        return F.pad(x, (1, 1, 1, 1))


@pytest.mark.parametrize("how", [ACS(keep_depth=None), Planar(keep_depth=None)])
def test_depth_is_kept_also_where_an_odd_height_grows(how):
    up = nn.ConvTranspose2d(2, 2, 2, 2)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), up, Pad(), nn.Conv2d(2, 1, 3))
    # of 33 rows 34 are made
    assert convert(model, how)(torch.randn(1, 1, 5, 33, 32)).shape == (1, 1, 5, 34, 32)
