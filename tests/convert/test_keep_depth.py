"""keep_depth: the first downsamplings, and what undoes them, leave depth alone."""

import pytest
import torch
from flat_models import ResNet, vgg
from torch import nn

from lean3d.convert import ACS, ConversionError, Inflate, Planar, SoftACS, convert


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
