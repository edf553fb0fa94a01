"""CMC and mAP against rankings worked out by hand, and a reference that walks the ranking."""

import numpy as np
import pytest

from lean3d.errors import ShapeError
from lean3d.metrics import JUNK, retrieval_scores


def test_a_ranking_worked_out_by_hand():
    # nearest first: wrong, right, junk, right of the same camera, right, wrong
    persons, cameras = [2, 1, JUNK, 1, 1, 3], [1, 1, 1, 0, 2, 0]
    found = retrieval_scores([[1, 2, 3, 4, 5, 6]], [1], persons, [0], cameras)
    # what counts: wrong, right, right, wrong: precisions 0, 1/2, 2/3
    assert found.first.tolist() == [2]
    assert found.right.tolist() == [2]
    assert found.precision_at_hits[0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    # by trapezoids: half of the recall from (0 + 1/2) / 2, half from (1/2 + 2/3) / 2
    assert found.average_precision[0] == pytest.approx((1 / 4 + 7 / 12) / 2)
    assert [found.rank(k) for k in (1, 2, 5)] == [0, 1, 1]


def test_a_right_first_entry_is_a_full_score():
    found = retrieval_scores([[0.1, 0.2], [0.3, 0.1]], [1, 2], [1, 2])
    assert found.average_precision.tolist() == found.precision_at_hits.tolist() == [1, 1]
    assert found.mean_average_precision == found.rank(1) == 1


def test_a_query_without_a_right_entry_counts_nowhere():
    found = retrieval_scores([[1, 2], [1, 2]], [1, 9], [1, 2])
    assert np.isnan(found.first[1])
    assert np.isnan(found.average_precision[1])
    assert found.right.tolist() == [1, 0]
    assert found.rank(1) == found.mean_average_precision == 1


def test_a_query_does_not_find_itself():
    # both entries are of one person by unknown cameras; the first is the query
    alone = retrieval_scores([[0, 3, 2]], [1], [1, 1, 2], own=[0])
    assert alone.first.tolist() == [2]
    assert retrieval_scores([[0, 3, 2]], [1], [1, 1, 2]).first.tolist() == [1]


def test_distractors_are_wrong_and_equal_distances_keep_their_order():
    found = retrieval_scores([[5, 5, 5]], [1], [0, 1, 0], [0], [1, 1, 1])
    assert found.first.tolist() == [2]
    assert found.average_precision[0] == pytest.approx((0 + 1 / 2) / 2)


def walked(distance, person, camera, persons, cameras):
    """The data set's own procedure, entry by entry."""
    recall_before, precision_before, area, hits, place = 0.0, 1.0, 0.0, 0, 0
    good = {g for g, p in enumerate(persons) if p == person and cameras[g] != camera}
    junk = {g for g, p in enumerate(persons) if p == JUNK}
    junk |= {g for g, p in enumerate(persons) if p == person and cameras[g] == camera}
    first = None
    for g in sorted(range(len(persons)), key=lambda g: distance[g]):
        if g in junk:
            continue
        if g in good:
            hits += 1
            first = first or place + 1
        recall, precision = hits / len(good), hits / (place + 1)
        area += (recall - recall_before) * (precision_before + precision) / 2
        recall_before, precision_before, place = recall, precision, place + 1
        if hits == len(good):
            return area, first
    raise AssertionError("not all found")


def test_equals_the_procedure_of_the_data_set():
    random = np.random.default_rng(0)
    persons, cameras = random.integers(-1, 5, 60), random.integers(1, 4, 60)
    queries = [g for g in range(60) if persons[g] > 0][:20]
    distance = random.random((20, 60))
    found = retrieval_scores(distance, persons[queries], persons, cameras[queries], cameras)
    for q, g in enumerate(queries):
        area, first = walked(distance[q], persons[g], cameras[g], persons, cameras)
        assert found.average_precision[q] == pytest.approx(area)
        assert found.first[q] == first


def test_sizes_that_differ_are_refused():
    with pytest.raises(ShapeError, match=r"\(Q, G\) = \(1, 3\), got \(1, 2\)"):
        retrieval_scores([[1, 2]], [1], [1, 2, 3])
    with pytest.raises(ShapeError, match="a camera for each"):
        retrieval_scores([[1, 2]], [1], [1, 2], [1], [1])
