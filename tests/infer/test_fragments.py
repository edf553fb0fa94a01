"""The fragments of blocks are those of the whole volume."""

import numpy as np
import pytest
from affinity_cases import FAR, NEAR, neurites

from lean3d.errors import LeanError
from lean3d.infer import Watershed
from lean3d.infer.fragment_graph import Contacts, contacts
from lean3d.infer.grid import blocks_of
from lean3d.infer.stitch import exits, number_fragments

pytest.importorskip("bioimage_cpp")
ONE = (1, 1, 1)
SETTINGS = (
    {},
    dict(sections=True),
    dict(fill=False),
    dict(inside="mean", threshold=0.7),
    dict(spacing=(4.0, 1.0, 1.0), limit=5.0),
    dict(smooth=2.0, limit=3.0),
)


def in_blocks(settings, affinity, size):
    shape = affinity.shape[1:]
    numbers, blocks = np.zeros(shape, np.uint64), blocks_of(shape, size)
    for block in blocks:
        window = affinity[(slice(None), *block.window(settings.halo))]
        numbers[block.core] = settings.block(window, block)
    found = [np.setdiff1d(numbers[block.core], [0]) for block in blocks]
    numbering = number_fragments(found, [exits(numbers[b.window(ONE)], b, ONE) for b in blocks])
    labels = numbering.apply(numbers)
    for block in [] if settings.fill else blocks:
        window = affinity[(slice(None), *block.window(ONE))]
        labels[block.core][settings.boundary(window)[block.inside(ONE)]] = 0
    return labels


@pytest.mark.parametrize("size", [(7, 20, 11), (1, 36, 9)])
@pytest.mark.parametrize("settings", SETTINGS)
def test_fragments_do_not_depend_on_blocks(settings, size):
    affinity, _ = neurites()
    watershed = Watershed(offsets=NEAR, **settings)
    whole = watershed.whole(affinity)
    np.testing.assert_array_equal(in_blocks(watershed, affinity, size), whole)
    assert whole.max() > 20


def test_every_setting_changes_the_fragments():
    affinity, _ = neurites(noise=0.3)
    first = Watershed(offsets=NEAR, smooth=0.5).whole(affinity)
    others = dict(threshold=0.9, inside="mean", spacing=(3.0, 1.0, 1.0), sections=True)
    for name, value in (others | dict(smooth=1.5, limit=1.0, fill=False)).items():
        settings = dict(smooth=0.5) | {name: value}
        assert (Watershed(offsets=NEAR, **settings).whole(affinity) != first).any(), name


def test_sections_by_themselves_share_no_fragment():
    affinity, _ = neurites()
    labels = Watershed(offsets=NEAR, sections=True).whole(affinity)
    assert not set(labels[3].ravel()) & set(labels[4].ravel()) - {0}


def test_nothing_inside_is_background():
    assert not Watershed(offsets=NEAR).whole(np.zeros((3, 4, 6, 6), np.uint8)).any()
    filled = Watershed(offsets=NEAR).whole(np.full((3, 4, 6, 6), 255, np.uint8))
    assert set(filled.ravel()) == {1}


@pytest.mark.parametrize("size", [(7, 20, 11), (20, 36, 9)])
def test_contacts_of_blocks_add_up_to_those_of_the_whole(size):
    affinity, _ = neurites(FAR)
    fragments = Watershed(offsets=FAR).whole(affinity)
    halo = tuple(max(abs(o[a]) for o in FAR) for a in range(3))
    whole = contacts(fragments, affinity, FAR, tuple(slice(0, n) for n in fragments.shape))
    parts = [
        contacts(
            fragments[b.window(halo)],
            affinity[(slice(None), *b.window(halo))],
            FAR,
            b.inside(halo),
        )
        for b in blocks_of(fragments.shape, size)
    ]
    for kind in (0, 1):
        one, many = Contacts.added([whole[kind]]), Contacts.added([p[kind] for p in parts])
        for name in ("pairs", "count", "total"):
            np.testing.assert_array_equal(getattr(one, name), getattr(many, name))


def test_a_hand_worked_contact():
    fragments = np.array([[[1, 1, 2, 0]]], np.uint64)
    affinity = np.array([[[[9, 200, 50, 7]]]], np.uint8)
    whole = (slice(0, 1), slice(0, 1), slice(0, 4))
    near, far = contacts(fragments, affinity, ((0, 0, -1),), whole)
    assert near.pairs.tolist() == [[1, 2]]
    assert (near.count.tolist(), near.total.tolist()) == ([1], [50])
    assert near.mean.tolist() == [50 / 255]
    assert len(far.pairs) == 0


@pytest.mark.parametrize("size", [(0, 1, 1), (5, 4, 4), (4, 5, 4)])
def test_refuses_blocks_that_do_not_fit(size):
    with pytest.raises(LeanError, match="does not fit"):
        blocks_of((4, 4, 4), size)


def test_refuses_windows_of_another_shape():
    (block,) = blocks_of((4, 4, 4), (4, 4, 4))
    with pytest.raises(LeanError, match="got"):
        Watershed(offsets=NEAR).block(np.zeros((3, 4, 4, 5), np.uint8), block)
    with pytest.raises(LeanError, match="uint8"):
        contacts(np.ones((2, 2, 2), np.uint64), np.zeros((3, 2, 2, 2)), NEAR, block.core)
