"""3D networks that do not take channels and classes as arguments get those that are asked for."""

import pytest
import torch
from torch import nn

from lean3d.errors import RunError
from lean3d.networks import Network
from lean3d.networks.ends import with_ends


class Deep(nn.Module):
    """Classifies volumes of three channels."""

    def __init__(self, scale=False):
        super().__init__()
        self.in_channels, self.num_classes = 3, 5
        self.stem, self.norm = nn.Conv3d(3, 4, 3, padding=1, bias=False), nn.BatchNorm3d(4)
        self.fc = nn.Linear(4, 5)
        self.scale = scale

    def forward(self, x):
        y = self.norm(self.stem(x)).relu().mean((2, 3, 4))
        return self.fc(y) * (x[:, 1:2].mean((2, 3, 4)) if self.scale else 1)


def scaled():
    return Deep(scale=True)


def sums():
    return nn.Sequential(nn.Conv3d(1, 6, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.GLU(1))


NET = f"{__file__}:"


@torch.no_grad()
def test_channels_and_classes_are_those_asked_for_and_gray_gives_the_same():
    model = Deep().eval()
    other = with_ends(model, "Deep", 1, None)
    x = torch.randn(2, 1, 8, 9, 10)
    torch.testing.assert_close(other(x), model(x.expand(-1, 3, -1, -1, -1)))
    assert (other.in_channels, other.stem.in_channels, model.stem.in_channels) == (1, 1, 3)
    torch.manual_seed(0)
    built = Network(f"{NET}Deep", in_channels=2, num_classes=7).build().model
    assert built(torch.randn(1, 2, 8, 9, 10)).shape == (1, 7)
    assert (built.num_classes, built.fc.out_features) == (7, 7)
    torch.manual_seed(0)
    again = Network(f"{NET}Deep", in_channels=2, num_classes=7).build().model
    assert torch.equal(built.fc.weight, again.fc.weight)


def test_a_network_that_has_them_is_left_as_it_is():
    model = Deep()
    assert with_ends(model, "Deep", 3, 5) is model


@pytest.mark.parametrize(
    ("name", "more", "sentence"),
    [
        ("scaled", dict(in_channels=1), "takes 3 channels and not 1, and does more with them"),
        ("sums", dict(num_classes=2), "has 3 outputs and not 2, which are not those of a last"),
    ],
)
def test_what_cannot_be_changed_is_refused(name, more, sentence):
    with pytest.raises(RunError, match=sentence):
        Network(NET + name, **more).build()
