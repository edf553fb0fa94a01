import numpy as np
import pytest
import torch

from lean3d.data import Volume
from lean3d.data.slabs import cut_slabs, split_slabs
from lean3d.errors import DataError


def a_volume(shape, labelled):
    label = torch.zeros(shape, dtype=torch.long)
    label[labelled] = 1
    return Volume(torch.randn(1, *shape), label, np.eye(4), "only")


@pytest.mark.parametrize(("shape", "axis"), [((40, 20, 90), 0), ((20, 40, 90), 1)])
def test_the_slabs_share_no_slice_and_both_are_labelled(shape, axis):
    volume = a_volume(shape, (slice(None), slice(None), slice(5, 50)))
    train, held_out = split_slabs(volume, 0.25)
    assert held_out.label.shape[axis] == 10
    assert train.label.shape[axis] == 28
    assert held_out.label.any()
    # the affine of a crop says where it was taken: two slices are between the slabs
    row = {0: 0, 1: 1}[axis]
    assert held_out.affine[row, 3] - train.affine[row, 3] == 30


def test_the_cut_is_where_the_labels_are():
    train, held_out = split_slabs(a_volume((100, 4, 4), slice(50, 70)), 0.5)
    assert (train.label.shape[0], held_out.label.shape[0]) == (59, 40)
    assert train.label.any()
    assert held_out.label.any()


@pytest.mark.parametrize("labelled", [slice(0, 0), slice(3, 4)])
def test_refuses_what_cannot_be_cut(labelled):
    with pytest.raises(DataError, match="the only case"):
        split_slabs(a_volume((9, 1, 9), labelled))


@pytest.mark.parametrize("num", [2, 3, 5])
def test_many_slabs_hold_equal_shares_and_leave_gaps(num):
    volume = a_volume((12, 90, 8), (slice(None), slice(10, 80)))
    slabs = cut_slabs(volume, num)
    starts = [round(slab.affine[1, 3]) for slab in slabs]
    stops = [start + slab.label.shape[1] for start, slab in zip(starts, slabs, strict=True)]
    assert (starts[0], stops[-1]) == (0, 90)
    gaps = [after - before for before, after in zip(stops, starts[1:], strict=False)]
    assert min(gaps) >= 1
    assert sum(gaps) <= 0.05 * 70 + num
    labelled = [int(slab.label.amax((0, 2)).sum()) for slab in slabs]
    assert max(labelled) - min(labelled) <= 1
    assert sum(labelled) + sum(gaps) == 70


def test_more_slabs_than_slices_are_refused():
    with pytest.raises(DataError, match="into 9 slabs"):
        cut_slabs(a_volume((9, 4, 4), slice(0, 8)), 9)
