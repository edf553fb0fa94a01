import numpy as np

from lean3d.data.tidy import fill_holes, keep_largest


def test_the_largest_piece_of_each_class_stays():
    label = np.zeros((9, 9, 9), np.uint8)
    label[1:4, 1:4, 1:4] = 1
    label[4, 4, 4] = 1  # touches by a corner
    label[7, 7, 7] = 1
    label[6:8, 0:3, 0:3] = 2
    label[0, 8, 8] = 2
    kept = keep_largest(label)
    assert kept[4, 4, 4] == 1
    assert kept[7, 7, 7] == kept[0, 8, 8] == 0
    assert (kept == 2).sum() == 18
    assert (label == 2).sum() == 19


def test_holes_are_filled_and_other_classes_in_them_stay():
    label = np.zeros((9, 9, 9), np.uint8)
    label[1:8, 1:8, 1:8] = 1
    label[3:6, 3:6, 3:6] = 0
    label[4, 4, 4] = 2
    label[1, 4, 4] = 0  # a dent, not a hole
    filled = fill_holes(label)
    assert filled[3, 3, 3] == 1
    assert filled[4, 4, 4] == 2
    assert filled[1, 4, 4] == 0


def test_an_empty_mask_stays_empty():
    empty = np.zeros((3, 3, 3), np.uint8)
    assert not keep_largest(empty).any()
    assert not fill_holes(empty).any()
