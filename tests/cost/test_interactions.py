import pytest
from torch import nn

from lean3d.cost import count, interactions


@pytest.mark.parametrize(("groups", "pairs"), [(1, 24), (2, 4), (4, 0)])
def test_figure_1_of_the_paper(groups, pairs):
    assert interactions(4, 4, groups) == pairs


@pytest.mark.parametrize(("groups", "pairs"), [(1, 8 * 15), (2, 8 * 3), (6, 0)])
@pytest.mark.parametrize("size", [5, 9])
def test_a_convolution_has_them_whatever_its_kernel_and_resolution(groups, pairs, size):
    kind = nn.Conv3d(6, 24 // 3 if groups < 6 else 12, 3, groups=groups)
    assert count(kind, (1, 6, size, size, size)).interactions == pairs


@pytest.mark.parametrize(("groups", "pairs"), [(1, 4 * 15), (2, 4 * 3)])
def test_a_transposed_convolution_has_those_of_its_inputs(groups, pairs):
    layer = nn.ConvTranspose2d(6, 4, 2, groups=groups)
    assert count(layer, (1, 6, 3, 3)).interactions == pairs


def test_a_linear_layer_has_none():
    assert count(nn.Linear(6, 4), (1, 6)).interactions == 0
