import math

import numpy as np
import pytest
import torch

from lean3d.errors import ShapeError
from lean3d.metrics import score_mask


def block(*places, shape=(8, 9, 10)):
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def test_overlap_and_volumes_worked_out_by_hand():
    truth = block(np.s_[1:3, 2:4, 2:5])  # 12 voxels
    pred = block(np.s_[1:3, 2:4, 3:7])  # 16 voxels, 8 of them in the truth
    found = score_mask(pred, torch.from_numpy(truth), (5, 2, 0.5))
    assert (found.both, found.added, found.missed) == (8, 8, 4)
    assert found.dice == pytest.approx(2 * 8 / (12 + 16))
    assert found.iou == pytest.approx(8 / 20)
    assert (found.true_volume, found.volume) == (12 * 5, 16 * 5)
    assert found.occurs == "both"


def test_distances_are_along_the_axis_of_their_spacing():
    truth, pred = block((1, 4, 4)), block((4, 4, 4))
    found = score_mask(pred, truth, (2, 1, 1), tolerance=6)
    assert (found.hd95, found.surface_dice) == (6, 1)
    # the surface is halfway to the next voxel: that between the two is 2 voxels away, that behind 3
    assert score_mask(pred, truth, (2, 1, 1), tolerance=5.9).surface_dice == 0.5
    assert score_mask(pred, truth, (2, 1, 1), tolerance=3.9).surface_dice == 0
    # one voxel of the largest spacing
    assert score_mask(block((2, 4, 4)), truth, (2, 1, 1)).surface_dice == 1
    assert score_mask(block((1, 4, 8)), truth, (2, 1, 1)).surface_dice == 0


def test_the_distance_is_the_95th_percentile_of_each_direction():
    truth = block(np.s_[2:22, 2:22], shape=(40, 40))  # 76 voxels of border
    assert score_mask(truth | block((35, 10), shape=(40, 40)), truth, (1, 1)).hd95 == 0
    few = block((10, 10), shape=(40, 40))
    # of five voxels, the 95th percentile is a fifth of the way from the fourth to the fifth
    more = few | block((10, 11), (10, 12), (10, 13), (10, 23), shape=(40, 40))
    assert score_mask(more, few, (1, 1)).hd95 == pytest.approx(3 + 0.8 * 10)


def test_masks_at_the_border_of_a_scan_have_a_surface_there():
    everything = np.ones((3, 4, 5), bool)
    found = score_mask(everything, everything, (1, 1, 1), tolerance=0)
    assert (found.hd95, found.surface_dice) == (0, 1)


@pytest.mark.parametrize(
    ("pred", "truth", "occurs", "dice", "surface"),
    [
        ([], [], "absent", math.nan, math.nan),
        ([(1, 1, 1)], [], "added", 0, 0),
        ([], [(1, 1, 1)], "missed", 0, 0),
    ],
)
def test_an_empty_mask_has_no_distance(pred, truth, occurs, dice, surface):
    found = score_mask(block(*pred), block(*truth), (1, 1, 1))
    assert found.occurs == occurs
    for value, expected in (
        (found.dice, dice),
        (found.iou, dice),
        (found.surface_dice, surface),
        (found.hd95, math.nan),
    ):
        assert value == pytest.approx(expected, nan_ok=True)


def test_one_slice_is_scored_as_an_image():
    truth, pred = block(np.s_[2:6, 2:6], shape=(9, 9)), block(np.s_[3:8, 2:6], shape=(9, 9))
    flat = score_mask(pred, truth, (1, 2))
    assert score_mask(pred[None], truth[None], (100, 1, 2)).hd95 == flat.hd95 > 0
    assert score_mask(pred[:, None], truth[:, None], (1, 100, 2)).surface_dice == flat.surface_dice


def test_surfaces_can_be_left_out():
    found = score_mask(block((1, 1, 1)), block((1, 1, 1)), (1, 1, 1), surfaces=False)
    assert found.dice == 1
    assert math.isnan(found.hd95)
    assert math.isnan(found.surface_dice)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((8, 9, 9), (1, 1, 1)), ((8, 9, 10), (1, 1)), ((8, 9, 10), (1, 0, 1))]
)
def test_odd_shapes_and_spacings_are_refused(shape, spacing):
    with pytest.raises(ShapeError, match="score_mask"):
        score_mask(np.ones(shape, bool), np.ones((8, 9, 10), bool), spacing)
