import pytest
import torch

from lean3d.data import Regions
from lean3d.errors import DataError

BRATS = ("WT=1,2,3", "TC=2,3", "ET=3")


def test_targets_of_nested_regions():
    label = torch.tensor([[0, 1, 2, 3]])
    expected = [[False, True, True, True], [False, False, True, True], [False, False, False, True]]
    assert Regions.read(BRATS, 4).targets(label)[0].tolist() == expected


def test_a_mask_holds_the_innermost_region_and_gives_the_regions_back():
    regions = Regions.read(BRATS, 4)
    label = torch.tensor([0, 1, 2, 3, 3])
    inside = regions.targets(label[None])[0].float()
    assert regions.mask(inside).tolist() == label.tolist()
    assert regions.mask(torch.tensor([[0.5, 0.6], [0.1, 0.9], [0.2, 0.3]])).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["liver"], "a name and its classes"),
        (["liver=a"], "a name and its classes"),
        (["=1"], "a name and its classes"),
        (["liver=0,1"], "from 1 to 3"),
        (["liver=4"], "from 1 to 3"),
        (["a=1", "a=2"], "different names"),
        (["a=1,2", "b=2,3"], "overlap"),
        (["ET=3", "WT=1,3"], "overlap"),
        (["a=1,2", "b=1", "c=2"], "cannot hold"),
    ],
)
def test_what_is_no_set_of_regions_is_refused(words, message):
    with pytest.raises(DataError, match=message):
        Regions.read(words, 4)
