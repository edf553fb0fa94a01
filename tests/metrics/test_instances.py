import numpy as np
import pytest

from lean3d.errors import LeanError
from lean3d.metrics import OverlapTable, instance_scores, overlap_table

random = np.random.default_rng(0)
TRUTH = random.integers(0, 5, (6, 7, 8))
SEGMENT = np.where(random.random(TRUTH.shape) < 0.7, TRUTH, random.integers(0, 9, TRUTH.shape))


def test_a_hand_worked_split_and_merge():
    # truth: two instances of 4 voxels; segments: one of 2, one of 2 + 4
    truth, segment = np.array([1, 1, 1, 1, 2, 2, 2, 2]), np.array([5, 5, 7, 7, 7, 7, 7, 7])
    scores = instance_scores(segment, truth)
    # half of the voxels are in an instance that one bit splits; 3/4 in a segment of 1/3 and 2/3
    third = 0.75 * (np.log2(3) / 3 + 2 / 3 * np.log2(1.5))
    assert scores.vi_split == pytest.approx(0.5)
    assert scores.vi_merge == pytest.approx(third)
    assert scores.vi == pytest.approx(0.5 + third)
    # squares of joint: 4 + 4 + 16 of 64, of truth 16 + 16, of segments 4 + 36
    assert scores.rand_split == pytest.approx(24 / 32)
    assert scores.rand_merge == pytest.approx(24 / 40)
    assert scores.rand_f == pytest.approx(48 / 72)
    assert scores.arand == pytest.approx(24 / 72)
    shared = 1 - third
    assert scores.info_merge == pytest.approx(shared)
    assert scores.info_split == pytest.approx(shared / (shared + 0.5))


def test_equals_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    ours = instance_scores(SEGMENT, TRUTH)
    # it counts pairs of different voxels, not pairs with the voxel itself: equal for many voxels
    many = np.tile(TRUTH, (40, 1, 1)), np.tile(SEGMENT, (40, 1, 1))
    error, by_truth, by_segment = metrics.adapted_rand_error(*many, ignore_labels=(0,))
    assert ours.arand == pytest.approx(error, abs=1e-3)
    assert (ours.rand_split, ours.rand_merge) == pytest.approx((by_truth, by_segment), abs=1e-3)
    inside = TRUTH > 0
    both = metrics.variation_of_information(TRUTH[inside], SEGMENT[inside])
    assert (ours.vi_split, ours.vi_merge) == pytest.approx(tuple(both))
    everywhere = instance_scores(SEGMENT, TRUTH, ignored=())
    both = metrics.variation_of_information(TRUTH, SEGMENT)
    assert (everywhere.vi_split, everywhere.vi_merge) == pytest.approx(tuple(both))


def test_equals_waterz():
    waterz = pytest.importorskip("waterz")
    segment = (SEGMENT + 1).astype(np.uint64)
    theirs = waterz.evaluate(segment, TRUTH.astype(np.uint64))
    ours = instance_scores(segment, TRUTH)
    assert ours.vi_split == pytest.approx(theirs["voi_split"])
    assert ours.vi_merge == pytest.approx(theirs["voi_merge"])
    assert ours.rand_split == pytest.approx(theirs["rand_split"])
    assert ours.rand_merge == pytest.approx(theirs["rand_merge"])


def test_a_copy_under_other_numbers_is_perfect():
    scores = instance_scores(TRUTH * 7 + 3, TRUTH)
    assert (scores.vi_split, scores.vi_merge, scores.arand) == pytest.approx((0, 0, 0), abs=1e-9)
    assert (scores.rand_f, scores.info_f) == pytest.approx((1, 1))


def test_one_true_instance_in_one_segment_is_perfect_too():
    scores = instance_scores(np.ones(4, int), np.ones(4, int))
    assert (scores.vi, scores.rand_f, scores.info_f) == (0, 1, 1)


def test_voxels_without_a_segment_are_one_each_where_asked():
    truth, segment = np.ones(4, int), np.array([1, 1, 0, 0])
    alone = instance_scores(segment, truth, zeros="singletons")
    numbered = instance_scores(np.array([1, 1, 2, 3]), truth)
    assert alone == numbered
    assert instance_scores(segment, truth).vi_split == pytest.approx(1)
    assert instance_scores(segment, truth, zeros="ignored").vi == 0
    nothing = instance_scores(np.zeros(4, int), truth, zeros="singletons")
    assert nothing.vi_split == pytest.approx(2)


def test_unlabelled_voxels_never_count():
    truth = TRUTH.copy()
    truth[:2] = -1
    for ignored in ((), (0,)):
        ours = instance_scores(SEGMENT, truth, ignored=ignored)
        assert ours == instance_scores(SEGMENT[2:], TRUTH[2:], ignored=ignored)
    unsigned = np.where(truth < 0, 2**64 - 2, truth.clip(0)).astype(np.uint64)
    assert instance_scores(SEGMENT, unsigned) == instance_scores(SEGMENT, truth)


def test_tables_of_parts_add_up():
    parts = [overlap_table(SEGMENT[i : i + 2], TRUTH[i : i + 2]) for i in (0, 2, 4)]
    assert OverlapTable.total(parts).scores() == instance_scores(SEGMENT, TRUTH)


def test_merges_of_fragments_are_scored_from_their_table():
    lookup = np.array([0, 1, 1, 2, 2, 2, 3, 3, 4])
    merged = overlap_table(SEGMENT, TRUTH).merged(lookup)
    assert merged.scores() == instance_scores(lookup[SEGMENT], TRUTH)


def test_ids_of_any_size():
    far = np.array([2**40, 2**62, 2**62, 5])
    assert instance_scores(far, np.array([1, 2, 2, 3])).vi == pytest.approx(0)


@pytest.mark.parametrize(
    ("segment", "truth", "message"),
    [
        (np.ones(3, int), np.ones(4, int), "one shape"),
        (np.ones(3), np.ones(3, int), "whole numbers"),
        (np.ones(3, int), np.zeros(3, int), "no labelled voxel"),
    ],
)
def test_refuses_what_cannot_be_scored(segment, truth, message):
    with pytest.raises(LeanError, match=message):
        instance_scores(segment, truth)


def test_refuses_an_unknown_way_and_no_tables():
    with pytest.raises(LeanError, match="zeros is"):
        instance_scores(TRUTH, TRUTH, zeros="gone")
    with pytest.raises(LeanError, match="no tables"):
        OverlapTable.total([])
