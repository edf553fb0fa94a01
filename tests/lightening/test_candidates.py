"""Which forms are tried."""

import pytest
import torch

import lean3d
from lean3d.lightening import CUTS
from lean3d.lightening.candidates import Levels, arithmetic, front, options_of
from lean3d.lightening.sites import find_places


def tried(cuts):
    torch.manual_seed(0)
    model = lean3d.create_model("unet3d", widths=(16, 32)).eval()
    places = find_places(model, (torch.randn(1, 1, 16, 16, 16),), fewer="channels" in cuts)
    options = options_of(places, Levels(places, cuts), cuts)
    return {str(option.place.cut) for option in front(options, arithmetic)}


@pytest.mark.parametrize("family", CUTS)
def test_all_families_together_try_what_each_alone_tries(family):
    alone = tried((family,))
    assert len(alone) > 5
    assert alone <= tried(tuple(CUTS))
