"""The picture of features: which component is which colour."""

import torch
from torch import nn

from papers.planecycle.picture import colours, draw, maps_of


def test_the_largest_component_is_red_and_rises_with_the_volume():
    torch.manual_seed(0)
    like = torch.randn(4, 5, 6)
    green, blue = torch.randn(2, 4, 5, 6)
    basis = torch.linalg.qr(torch.randn(8, 8)).Q[:, :3]  # of orthogonal features
    maps = torch.einsum("ck,kdhw->cdhw", basis, torch.stack([-9 * like, 3 * green, blue]))
    found = colours(maps, like)
    assert found.shape == (4, 5, 6, 3)
    assert found.min() == 0
    assert found.max() == 1
    for place, wanted in enumerate((like, green, blue)):
        shown = torch.stack([found[..., place].flatten(), wanted.flatten()])
        assert torch.corrcoef(shown)[0, 1].abs() > 0.9
    red = torch.stack([found[..., 0].flatten(), like.flatten()])
    assert torch.corrcoef(red)[0, 1] > 0.9


class Heads(nn.Module):
    def __init__(self, folds):
        super().__init__()
        self.head, self.folds = nn.Identity(), folds

    def forward(self, x):
        maps = x[:, :, ::2, ::2, ::2]
        return self.head(maps[0].transpose(0, 1) if self.folds else maps)


def test_maps_are_those_before_the_head_also_where_slices_are_a_batch(tmp_path):
    x = torch.randn(1, 2, 4, 6, 8)
    assert torch.equal(maps_of(Heads(False), x), maps_of(Heads(True), x))
    draw({"volume": x[0, 0], "way": torch.rand(4, 6, 8, 3)}, tmp_path / "features.png")
    assert (tmp_path / "features.png").read_bytes()[:4] == b"\x89PNG"
