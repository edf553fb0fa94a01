import numpy as np
import pytest
import torch
from affinity_cases import FAR, NEAR, neurites, two_rooms

from lean3d.data import read_channels
from lean3d.errors import LeanError
from lean3d.infer import Watershed, agglomerate, components, decode, drop_small, mutex_watershed
from lean3d.infer.fragment_graph import Contacts, FragmentGraph, contacts
from lean3d.infer.merging import SCORINGS, agglomerate_graph, mutex_graph
from lean3d.metrics import instance_scores

pytest.importorskip("bioimage_cpp")
pytest.importorskip("waterz")


def graph_of(fragments, affinity, offsets):
    near, far = contacts(fragments, affinity, offsets, tuple(slice(0, n) for n in fragments.shape))
    return FragmentGraph(int(fragments.max()), Contacts.added([near]), Contacts.added([far]))


def same(a, b):
    return instance_scores(a, b, ignored=()).vi < 1e-9


def test_perfect_affinities_have_their_labels_as_components():
    from lean3d.data import Neurites, affinity_targets

    label = Neurites(shape=(10, 24, 24)).volume().label
    affinity, _ = affinity_targets(label, NEAR)
    found = components(affinity.numpy(), NEAR)
    inside = label.numpy() > 0
    assert instance_scores(found, label.numpy()).vi_merge < 1e-9
    from skimage.measure import label as label_components

    # drawn neurites may be of several parts
    parts = label_components(label.numpy(), connectivity=1)
    assert same(found[inside & (found > 0)], parts[inside & (found > 0)])


def test_a_door_between_two_rooms():
    affinity, room = two_rooms()
    # the door joins components
    assert len(np.unique(components(affinity, FAR, 0.5))) == 1
    assert same(components(affinity, FAR, 0.7), room)
    # long-range affinities keep the rooms apart
    assert same(mutex_watershed(affinity, FAR), room)
    # and so does the mean of the wall
    fragments = room.astype(np.uint64)
    merged = dict(agglomerate(affinity, fragments, (0.7, 0.9), offsets=FAR))
    assert same(merged[0.7], room)
    assert len(np.unique(merged[0.9])) == 1


def test_the_mean_of_waterz_is_a_sum_over_the_wall():
    affinity, room = two_rooms()
    # four affinities of 0.1 and the door's 0.6
    score = 1 - (4 * 0.1 + 0.6) / 5
    thresholds = (score - 0.01, score + 0.01)
    counts = [len(np.unique(s)) for _, s in agglomerate(affinity, room, thresholds, offsets=FAR)]
    assert counts == [2, 1]
    # nine tenths of them are at most the door's
    for scoring, expected in (("quantile90", 1), ("quantile50", 2), ("mean", 2)):
        ((_, merged),) = agglomerate(affinity, room, (0.5,), offsets=FAR, scoring=scoring)
        assert len(np.unique(merged)) == expected


@pytest.mark.parametrize("scoring", SCORINGS)
def test_every_scoring_merges_more_at_higher_thresholds(scoring):
    affinity, _ = neurites()
    fragments = Watershed(offsets=NEAR).whole(affinity)
    counts = [
        len(np.unique(labels))
        for _, labels in agglomerate(affinity, fragments, (0.9, 0.1, 0.5), scoring=scoring)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6])
def test_merging_the_graph_is_what_waterz_does(threshold):
    affinity, _ = neurites()
    fragments = Watershed(offsets=NEAR).whole(affinity)
    ((_, theirs),) = agglomerate(affinity, fragments, (threshold,))
    graph = graph_of(fragments, affinity, NEAR)
    ours = agglomerate_graph(graph, threshold)[fragments]
    assert 1 < len(np.unique(ours)) < graph.fragments
    assert same(ours, theirs)


def test_linkages_differ_and_the_largest_merges_most():
    affinity, _ = neurites(noise=0.3)
    fragments = Watershed(offsets=NEAR).whole(affinity)
    graph = graph_of(fragments, affinity, NEAR)
    counts = {k: agglomerate_graph(graph, 0.5, linkage=k).max() for k in ("max", "mean", "min")}
    assert counts["max"] < counts["mean"] < counts["min"]


def test_the_mutex_watershed_of_fragments_keeps_rooms_apart():
    affinity, room = two_rooms()
    levels = np.rint(255 * affinity).astype(np.uint8)
    # fragments of two columns each, the last of one
    fragments = (room * 0 + np.arange(11) // 5 * 3 + np.arange(11) % 5 // 2 + 1).astype(np.uint64)
    graph = graph_of(fragments, levels, FAR)
    assert same(mutex_graph(graph)[fragments], np.where(np.arange(11) < 5, 1, 2) + 0 * room)


def test_decodes_neurites_better_than_their_fragments():
    affinity, label = neurites(FAR)
    fragments = instance_scores(Watershed(offsets=FAR).whole(affinity), label)
    found = dict(decode(affinity, FAR, thresholds=(0.3, 0.5, 0.7)))
    assert list(found) == [0.3, 0.5, 0.7]
    assert min(instance_scores(labels, label).vi for labels in found.values()) < fragments.vi
    clean, label = neurites(FAR, noise=0, shrink=0)
    ((_, labels),) = decode(clean, FAR, "mutex")
    assert instance_scores(labels, label).vi < 1
    ((_, labels),) = decode(clean, FAR, "components", thresholds=(0.9,), smallest=10)
    assert instance_scores(labels, label, zeros="ignored").vi_merge < 0.1
    assert np.unique(labels, return_counts=True)[1].min() >= 10


@pytest.mark.parametrize("method", ["watershed", "components", "mutex"])
def test_decodes_a_tensor(method):
    affinity, _ = two_rooms()
    ((_, expected),) = decode(affinity, FAR, method, thresholds=(0.7,))
    ((_, found),) = decode(torch.as_tensor(affinity), FAR, method, thresholds=(0.7,))
    assert (found == expected).all()


@pytest.mark.parametrize("method", ["watershed", "components", "mutex"])
def test_channels_that_are_no_affinities_are_left_out(method):
    affinity, _ = two_rooms()
    offsets = (*FAR, *read_channels(("foreground",)))
    more = np.concatenate([affinity, np.zeros_like(affinity[:1])])
    ((_, expected),) = decode(affinity, FAR, method, thresholds=(0.7,))
    ((_, found),) = decode(more, offsets, method, thresholds=(0.7,))
    assert (found == expected).all()


def test_small_instances_are_dropped():
    labels = np.array([[[1, 1, 1, 2, 2, 9]]], np.uint64)
    assert drop_small(labels, 2).tolist() == [[[1, 1, 1, 2, 2, 0]]]
    assert drop_small(labels, 3).tolist() == [[[1, 1, 1, 0, 0, 0]]]
    assert drop_small(labels, 0) is labels


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, f: next(agglomerate(a, f, (0.5,), scoring="medium")), "no scoring called"),
        (lambda a, f: next(agglomerate(a, f, ())), "got none"),
        (lambda a, f: next(agglomerate(a, f, (1.5,))), "threshold is a number"),
        (lambda a, f: next(agglomerate(a[1:], f, (0.5,), offsets=NEAR[1:])), "z1, y1 and x1"),
        (lambda a, f: next(agglomerate(a, f[1:], (0.5,))), "of one volume"),
        (lambda a, f: next(decode(a, NEAR, thresholds=0.5)), r"such as \(0.3, 0.5\)"),
        (lambda a, f: next(decode(a, NEAR, thresholds="0.5")), "a threshold takes a number"),
        (lambda a, f: next(decode(a[None], NEAR)), r"K, D, H, W.*got \(1, 3, 2, 4, 4\)"),
        (lambda a, f: next(decode(a[:2], NEAR)), "one for each of 3 channels"),
        (lambda a, f: next(decode(a[:, :0], NEAR)), "at least one voxel"),
        (lambda a, f: next(decode(a - 3, NEAR)), "through a sigmoid first"),
        (lambda a, f: next(decode(a * np.nan, NEAR)), "some that are NaN"),
        (lambda a, f: next(decode(a > 0, NEAR)), "uint8 of 0 to 255, got bool"),
        (lambda a, f: components(a - 3, NEAR), "through a sigmoid first"),
        (lambda a, f: components(a + 1.5, NEAR), "through a sigmoid first"),
        (lambda a, f: mutex_watershed(a - 3, NEAR), "through a sigmoid first"),
        (lambda a, f: next(agglomerate(a - 3, f, (0.5,))), "through a sigmoid first"),
        (lambda a, f: mutex_watershed(a, NEAR), "long-range"),
        (lambda a, f: next(decode(a, NEAR, "guess")), "no method called"),
        (lambda a, f: components(a, read_channels(("x2", "y2", "z2"))), "components need"),
        (lambda a, f: Watershed(offsets=read_channels(("x2",))), "nearest neighbours"),
        (lambda a, f: Watershed(offsets=NEAR, threshold=2), "threshold is a number"),
        (lambda a, f: Watershed(offsets=NEAR, inside="max"), "min or mean"),
    ],
)
def test_refuses_what_cannot_be_decoded(call, message):
    with pytest.raises(LeanError, match=message):
        call(np.zeros((3, 2, 4, 4), np.float32), np.ones((2, 4, 4), np.uint64))


def test_refuses_a_graph_without_long_range_affinities():
    affinity, room = two_rooms()
    graph = graph_of(room.astype(np.uint64), np.rint(255 * affinity[:3]).astype(np.uint8), NEAR)
    with pytest.raises(LeanError, match="long-range"):
        mutex_graph(graph)
    with pytest.raises(LeanError, match="no linkage"):
        agglomerate_graph(graph, 0.5, linkage="sum")
