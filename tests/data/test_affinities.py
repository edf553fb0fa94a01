import pytest
import torch

from lean3d.data import (
    affinity_targets,
    balanced_weights,
    instances_of_membranes,
    read_channels,
    shrink_labels,
)
from lean3d.errors import LeanError

ROW = torch.tensor([[[1, 1, 2, 0, 0, 3, -1, 3]]])


def targets(label, *words, **more):
    target, mask = affinity_targets(label, read_channels(words), **more)
    return target.int().tolist(), mask.int().tolist()


def test_a_hand_worked_row():
    target, mask = targets(ROW, "x1", "x2")
    assert target[0] == [[[0, 1, 0, 0, 0, 0, 0, 0]]]
    assert mask[0] == [[[0, 1, 1, 1, 1, 1, 0, 0]]]
    assert target[1] == [[[0, 0, 0, 0, 0, 0, 0, 1]]]
    assert mask[1] == [[[0, 0, 1, 1, 1, 1, 0, 1]]]


def test_foreground_and_boundary_are_the_two_halves_of_what_is_labelled():
    target, mask = targets(ROW, "foreground", "boundary")
    assert target[0] == [[[1, 0, 0, 0, 0, 1, 0, 1]]]
    assert target[1] == [[[0, 1, 1, 1, 1, 0, 0, 0]]]
    assert mask[0] == mask[1] == [[[1, 1, 1, 1, 1, 1, 0, 1]]]


def test_equals_a_loop_over_voxels_for_any_offset():
    label = torch.randint(-1, 3, (3, 4, 5), generator=torch.Generator().manual_seed(0))
    words = ("z1", "y2", "x3", "z1y1", "z2x4", "y9")
    channels = read_channels(words)
    target, mask = affinity_targets(label, channels)
    for k, (dz, dy, dx) in enumerate(channels):
        for z, y, x in label.ge(-1).nonzero().tolist():
            there = (z + dz, y + dy, x + dx)
            valid = min(there) >= 0 and label[z, y, x] >= 0 and label[there] >= 0
            same = valid and label[z, y, x] == label[there] and label[z, y, x] > 0
            assert mask[k, z, y, x] == valid
            assert target[k, z, y, x] == same


def test_offsets_of_waterz():
    assert read_channels(("z1", "y1", "x1")) == ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
    assert read_channels(("z1x3", "boundary")) == ((-1, 0, -3), "boundary")


@pytest.mark.parametrize("words", [(), ("q1",), ("z0",), ("z1z2",), ("z1", "z1"), ("1",), ("z-1",)])
def test_refuses_other_words(words):
    with pytest.raises(LeanError, match="channel"):
        read_channels(words)


def test_batches_and_images():
    label = torch.stack([ROW, ROW.flip(-1)])
    target, mask = affinity_targets(label, read_channels(("x1", "y1")))
    assert target.shape == (2, 2, 1, 1, 8)
    assert torch.equal(target[0], affinity_targets(ROW, read_channels(("x1", "y1")))[0])
    flat, _ = affinity_targets(label[:, 0], read_channels(("x1", "y1")), dims=2)
    assert torch.equal(flat, target[:, :, 0])
    assert not mask[:, 1].any()


def test_refuses_sections_for_images():
    with pytest.raises(LeanError, match="without z"):
        affinity_targets(ROW[0], read_channels(("z1",)), dims=2)
    with pytest.raises(LeanError, match="got"):
        affinity_targets(ROW[0, 0], read_channels(("x1",)))


def test_labels_shrink_from_others_but_not_from_what_is_unlabelled():
    row = torch.tensor([[[1, 1, 1, 1, 2, 2, 2, -1, 4, 4]]])
    assert shrink_labels(row, 1).tolist() == [[[1, 1, 1, 0, 0, 2, 2, -1, 4, 4]]]
    assert shrink_labels(row, 2).tolist() == [[[1, 1, 0, 0, 0, 0, 2, -1, 4, 4]]]
    column = row.movedim(2, 0)
    assert torch.equal(shrink_labels(column, 1), column)
    assert torch.equal(
        shrink_labels(column, 1, sections=False)[:, 0, 0], shrink_labels(row, 1)[0, 0]
    )


def test_both_classes_weigh_the_same_in_every_channel():
    label = torch.randint(0, 2, (2, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    target, mask = affinity_targets(label, read_channels(("z1", "x1", "foreground")))
    weight = balanced_weights(target, mask)
    assert not weight[~mask].any()
    for k in range(3):
        ones, zeros = (weight[:, k][(target[:, k] == v) & mask[:, k]].sum() for v in (1, 0))
        torch.testing.assert_close(ones, zeros)
        torch.testing.assert_close(ones + zeros, mask[:, k].sum().float())


def test_a_class_that_is_absent_leaves_finite_weights():
    target, mask = torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2, dtype=torch.bool)
    assert balanced_weights(target, mask).unique().tolist() == pytest.approx([0.5 / 0.95])
    assert not balanced_weights(target, torch.zeros_like(mask)).any()


def test_cells_of_membrane_labels_are_numbered_section_by_section():
    inside = torch.tensor([[[255, 0, 255], [255, 0, 0]], [[255, 255, 255], [0, 0, 0]]])
    assert instances_of_membranes(inside).tolist() == [
        [[1, 0, 2], [1, 0, 0]],
        [[3, 3, 3], [0, 0, 0]],
    ]
