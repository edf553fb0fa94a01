import numpy as np

from lean3d.metrics import Lesions, match_lesions


def line(text):
    """Voxels of one row; everything but a dot is inside."""
    return np.array([[[c != "." for c in text]]])


def test_lesions_are_found_missed_and_added():
    truth, pred = line("##..##..##....."), line("#......##....#.")
    # the first is found, the second missed, the third found; the last prediction is added
    assert match_lesions(pred, truth) == Lesions(true=3, found=2, added=1)


def test_a_lesion_is_found_above_the_given_overlap_with_all_that_touches_it():
    truth, pred = line("########...."), line(".##.###.....")
    assert match_lesions(pred, truth, 0.6).found == 1  # 5 of 8 voxels
    assert match_lesions(pred, truth, 0.625) == Lesions(true=1, found=0, added=2)


def test_one_component_may_find_two_lesions():
    assert match_lesions(line("#####"), line("#...#")) == Lesions(true=2, found=2, added=0)


def test_voxels_that_share_a_corner_are_one_lesion():
    truth = np.zeros((3, 3, 3), bool)
    truth[0, 0, 0] = truth[1, 1, 1] = True
    assert match_lesions(truth, truth) == Lesions(true=1, found=1, added=0)


def test_empty_masks_have_no_lesions():
    none, one = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    assert match_lesions(none, none) == Lesions(0, 0, 0)
    assert match_lesions(one, none) == Lesions(0, 0, 1)
    assert match_lesions(none, one) == Lesions(1, 0, 0)
