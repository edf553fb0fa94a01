import numpy as np
import pytest
import torch

from lean3d.data.brain import TISSUES, brain_slabs, mni152
from lean3d.data.volume import Volume
from lean3d.errors import DataError


@pytest.fixture(scope="module")
def brain():
    return mni152(2.0)


def test_has_the_spacing_asked_for(brain):
    assert brain.spacing == (2, 2, 2)
    assert brain.image.shape == (1, 95, 117, 99)


def test_lies_in_mni_space(brain):
    # the anterior commissure is the origin of MNI space, deep in the brain's middle
    d, h, w = np.rint(np.linalg.solve(brain.affine, [0, 0, 0, 1]))[:3].astype(int)
    assert brain.label[d - 2 : d + 3, h - 2 : h + 3, w - 2 : w + 3].min() > 0


def test_left_and_right_mirror_each_other_and_front_and_back_do_not(brain):
    # the volume starts at -98 mm and ends at 98: W mirrors about its centre
    head = brain.label > 0
    assert (head == head.flip(2)).float().mean() > 0.999
    assert (head == head.flip(1)).float().mean() < 0.98


def test_tissues_have_the_volumes_of_a_brain(brain):
    litres = brain.label.flatten().bincount(minlength=len(TISSUES)) * np.prod(brain.spacing) / 1e6
    _, fluid, grey, white = litres.tolist()
    assert 0.1 < fluid < 0.4
    assert 0.8 < grey < 1.3
    assert 0.4 < white < 0.9


def test_white_is_brighter_than_grey_and_grey_than_fluid_in_t1(brain):
    means = [brain.image[0][brain.label == tissue].mean() for tissue in range(4)]
    assert means == sorted(means)


def test_the_scan_is_nought_outside_the_brain_so_that_its_background_is_constant(brain):
    outside = brain.image[0][brain.label == 0]
    assert (outside == 0).float().mean() > 0.99
    assert brain.image.min() == 0
    assert 0.9 < brain.image.max() <= 1


def test_refuses_half_millimetres():
    with pytest.raises(DataError, match=r"1, 2, 3, \.\.\. 20 mm, got spacing_mm=1.5"):
        mni152(1.5)


@pytest.mark.parametrize("front", [True, False])
def test_slabs_share_no_row_and_keep_the_gap_between_them(brain, front):
    train, held_out = brain_slabs(brain, gap_mm=9.0, front=front)
    places = [slab.affine[1, 3] + 2 * np.arange(slab.label.shape[1]) for slab in (train, held_out)]
    nearest = abs(places[0][:, None] - places[1]).min()
    assert nearest - 2 >= 9
    assert nearest - 2 < 9 + 2
    assert (places[1].mean() > places[0].mean()) == front


def test_held_out_is_the_share_asked_for_of_the_brain(brain):
    rows = (brain.label.amax(dim=(0, 2)) > 0).sum()
    held_out = brain_slabs(brain, held_out=0.25)[1]
    kept = (held_out.label.amax(dim=(0, 2)) > 0).sum()
    assert abs(kept / rows - 0.25) < 0.02


def test_both_slabs_hold_every_tissue(brain):
    for slab in brain_slabs(brain):
        assert slab.label.unique().tolist() == [0, 1, 2, 3]


def test_nothing_is_split_left_from_right(brain):
    for slab in brain_slabs(brain):
        assert slab.label.shape[0::2] == brain.label.shape[0::2]


@pytest.mark.parametrize("bad", [dict(held_out=0), dict(held_out=0.97), dict(gap_mm=-1)])
def test_refuses_a_split_that_leaves_nothing(brain, bad):
    with pytest.raises(DataError, match="brain_slabs cannot cut 90 labelled rows"):
        brain_slabs(brain, **bad)


def test_refuses_to_split_an_unlabelled_brain():
    with pytest.raises(DataError, match="needs labels, scan has none"):
        brain_slabs(Volume(torch.zeros(1, 3, 3, 3), None, np.eye(4), "scan"))


def test_every_call_gives_tensors_of_its_own():
    first = mni152(4)
    first.image.zero_()
    first.label.zero_()
    assert mni152(4).image.any()
    assert mni152(4).label.any()
