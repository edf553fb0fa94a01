"""where=: what is left 2D inside a forward that speaks 2D sees slices, and is not called proven."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d.conversion import ACS, convert, unconvert


class Gated(nn.Module):
    """Depth in height, or in the batch if it pools."""

    def __init__(self, pools):
        super().__init__()
        self.conv, self.last, self.pools = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3), pools

    def forward(self, x):
        y = self.last(self.conv(x))
        y = y * y.mean((2, 3), keepdim=True)
        return F.max_pool2d(y, 2) if self.pools else y


class Inner(nn.Module):
    def forward(self, x):
        return F.max_pool2d(x, 3, 1, 1)


def slices(layer, x):
    return torch.stack([layer(x[:, :, depth]) for depth in range(x.shape[2])], 2)


@pytest.mark.parametrize("pools", [False, True])
def test_a_module_left_2d_in_a_folded_forward_sees_slices(pools):
    flat, x = Gated(pools), torch.randn(2, 3, 6, 7, 8)
    deep = convert(flat, ACS(), where=lambda path, module: path != "last")
    where = "batch" if pools else "height"
    assert [row.after for row in deep.conversion.rows] == [f"Gated, depth in {where}", "ACSConv3d"]
    assert "where= left 1 modules 2D, first 'last'" in str(deep.conversion)
    y = slices(flat.last, deep.conv(x))
    y = y * y.mean((2, 3, 4), keepdim=True)
    expected = F.max_pool3d(y, 2) if pools else y
    torch.testing.assert_close(deep(x), expected)
    torch.testing.assert_close(pickle.loads(pickle.dumps(deep))(x), expected)
    assert [type(module) for module in unconvert(deep).modules()] == [Gated, nn.Conv2d, nn.Conv2d]


def test_a_forward_left_2d_in_a_folded_forward_sees_slices():
    flat, x = Gated(False), torch.randn(2, 3, 6, 7, 8)
    flat.last = Inner()
    deep = convert(flat, ACS(), where=lambda path, module: path != "last")
    y = slices(flat.last, deep.conv(x))
    torch.testing.assert_close(deep(x), y * y.mean((2, 3, 4), keepdim=True))


def test_a_forward_left_2d_is_not_called_proven():
    flat = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), Gated(True))
    deep = convert(flat, ACS(), where=lambda path, module: not isinstance(module, Gated))
    assert deep.conversion.grade == "unchecked"
    assert "where= left 1 modules 2D, first '1'" in str(deep.conversion)


def test_where_that_leaves_nothing_2d_in_a_folded_forward_is_proven():
    deep = convert(Gated(True), ACS(), where=lambda path, module: True)
    assert deep.conversion.grade == "isotropic"
