import pytest
import torch
from torch import nn

from lean3d.errors import ShapeError
from lean3d.shape import check_axes, triple


def test_triple_repeats_an_int_and_keeps_three():
    assert triple(3) == (3, 3, 3)
    assert triple([1, 2, 3]) == (1, 2, 3)


@pytest.mark.parametrize("bad", [(1, 2), "same", (1, 2, 3, 4)])
def test_triple_refuses_anything_else_and_names_it(bad):
    with pytest.raises(ValueError, match="kernel_size must be an int or"):
        triple(bad, "kernel_size")


def test_check_axes_names_the_axis_that_is_wrong():
    owner = nn.Identity()
    check_axes(torch.zeros(1, 3, 4), "B C=3 D", owner)
    with pytest.raises(ShapeError, match=r"Identity takes \(B, C=3, D\).*axis C is 2, not 3"):
        check_axes(torch.zeros(1, 2, 4), "B C=3 D", owner)
