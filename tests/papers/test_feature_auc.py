import numpy as np
import pytest
import torch

from lean3d.errors import DataError, ShapeError
from papers.acs.feature_auc import feature_mauc

MASK = torch.tensor([[0, 0, 0, 1, 1]])


def test_a_perfect_channel_scores_one_by_high_or_by_low_values():
    features = torch.tensor([[[1.0, 2, 3, 4, 5], [5.0, 4, 3, 2, 1]]])
    assert feature_mauc(features, MASK) == 1


def test_ties_count_one_half():
    assert feature_mauc(torch.tensor([[[0.0, 1, 1, 1, 2]]]), MASK) == pytest.approx(5 / 6)
    assert feature_mauc(torch.ones(1, 1, 5), MASK) == 0.5


def test_is_the_mean_over_channels():
    features = torch.tensor([[[1.0, 2, 3, 4, 5], [1.0, 1, 1, 1, 1]]])
    assert feature_mauc(features, MASK) == pytest.approx(0.75)


def test_is_the_share_of_pairs_in_the_right_order():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 5, 6, generator=generator) * 50
    mask = torch.rand(4, 5, 6, generator=generator) < 0.3
    inside, outside = features[:, mask], features[:, ~mask]
    areas = (inside[:, :, None] > outside[:, None, :]).float().mean((1, 2))
    expected = torch.maximum(areas, 1 - areas).mean().item()
    assert feature_mauc(features[None], mask[None]) == pytest.approx(expected)


def test_several_volumes_give_the_mean_of_their_own_scores():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 4, 5, generator=generator)
    masks = torch.arange(40).view(2, 4, 5) % 3
    each = [feature_mauc(features[i : i + 1], masks[i : i + 1]) for i in range(2)]
    assert feature_mauc(features, masks) == pytest.approx(np.mean(each))


def test_all_foreground_classes_are_one_positive_kind():
    features = torch.tensor([[[1.0, 2, 3, 4, 5]]])
    assert feature_mauc(features, torch.tensor([[0, 0, 0, 2, 5]])) == 1


@pytest.mark.parametrize("value", [0, 1])
def test_refuses_a_mask_of_one_kind(value):
    with pytest.raises(DataError, match="needs voxels of both kinds"):
        feature_mauc(torch.ones(1, 1, 4), torch.full((1, 4), value))


def test_refuses_nan():
    with pytest.raises(DataError, match="NaN"):
        feature_mauc(torch.full((1, 1, 5), torch.nan), MASK)


def test_refuses_a_mask_of_another_shape():
    with pytest.raises(ShapeError, match=r"got \(1, 2, 4\) with \(1, 5\)"):
        feature_mauc(torch.ones(1, 2, 4), MASK)
