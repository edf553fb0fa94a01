import pytest
import torch
from torch import nn

from lean3d.ops import SpaceTimeConv3d


@pytest.mark.parametrize(("ins", "outs", "width"), [(64, 64, 144), (64, 128, 230), (3, 64, 23)])
def test_the_middle_is_as_wide_as_r2plus1d(ins, outs, width):
    assert SpaceTimeConv3d(ins, outs, 3).mid_channels == 27 * ins * outs // (9 * ins + 3 * outs)
    assert SpaceTimeConv3d(ins, outs, 3).mid_channels == width


def test_the_width_can_be_set_and_must_group():
    assert SpaceTimeConv3d(4, 8, 3, mid_channels=6).mid_channels == 6
    with pytest.raises(ValueError, match="multiple of groups=2"):
        SpaceTimeConv3d(4, 8, 3, groups=2, mid_channels=5)


def test_rank_1_is_linear_and_the_other_form_is_not():
    x = torch.randn(2, 3, 5, 6, 7)
    rank1, bent = (SpaceTimeConv3d(3, 4, 3, bias=False, form=f) for f in ("rank1", "2plus1d"))
    torch.testing.assert_close(rank1(-x), -rank1(x))
    assert not torch.allclose(bent(-x), -bent(x))
    with pytest.raises(ValueError, match="only as 'rank1'"):
        bent.dense_weight()


def test_norm_and_relu_stand_between_space_and_time():
    kinds = [type(m) for m in SpaceTimeConv3d(3, 4, 3).between]
    assert kinds == [nn.BatchNorm3d, nn.ReLU]


def test_refuses_an_unknown_form():
    with pytest.raises(ValueError, match="'2plus1d' or 'rank1'"):
        SpaceTimeConv3d(3, 4, 3, form="3d")
