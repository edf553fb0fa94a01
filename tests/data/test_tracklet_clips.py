"""Batches of P persons with K clips, and the frames of the clips."""

from collections import Counter

import numpy as np
import pytest
import torch

from lean3d.data import ClipWindow, Look, PersonSampler, TrackletClips, load_people
from lean3d.data.motion_blur import line, motion_blur
from lean3d.data.tracklet_clips import spread
from lean3d.errors import DataError
from tests.data.walkers import people

LABELS = list("aaabbccccdefg")


def batches(sampler, epoch, size):
    sampler.set_epoch(epoch)
    order = list(sampler)
    return [order[k : k + size] for k in range(0, len(order), size)]


@pytest.mark.parametrize(("persons", "clips"), [(2, 4), (3, 2), (7, 1)])
def test_a_batch_has_p_persons_with_k_clips_each(persons, clips):
    sampler = PersonSampler(LABELS, persons, clips, length=100, seed=3)
    size, seen = persons * clips, []
    for epoch in (0, 1):
        found = batches(sampler, epoch, size)
        assert len(found) == 100 // size
        for batch in found:
            tracklets = [index % len(LABELS) for index in batch]
            counts = Counter(LABELS[t] for t in tracklets)
            assert sorted(counts.values()) == [clips] * persons
            for person in counts:
                own = [t for t in tracklets if LABELS[t] == person]
                # of different tracklets as far as there are so many
                assert len(set(own)) == min(clips, LABELS.count(person))
        seen += [index for batch in found for index in batch]
    # no sample comes twice, in any epoch
    assert len(set(seen)) == len(seen)


def test_every_person_comes_before_one_comes_again():
    found = batches(PersonSampler(LABELS, 7, 2, length=70), 0, 14)
    assert all({LABELS[i % len(LABELS)] for i in batch} == set("abcdefg") for batch in found)


def test_an_epoch_depends_on_the_seed_and_its_number_alone():
    one, two = (PersonSampler(LABELS, 2, 4, 40, seed=5) for _ in range(2))
    two.set_epoch(7)
    list(two)
    assert batches(one, 3, 8) == batches(two, 3, 8) != batches(one, 4, 8)
    assert batches(PersonSampler(LABELS, 2, 4, 40, seed=6), 3, 8) != batches(one, 3, 8)


def test_shares_are_whole_persons_of_each_batch():
    whole = batches(PersonSampler(LABELS, 4, 2, 40), 1, 8)
    shares = [batches(PersonSampler(LABELS, 4, 2, 40, rank=r, size=2), 1, 4) for r in (0, 1)]
    assert [one + two for one, two in zip(*shares, strict=True)] == whole
    assert len(PersonSampler(LABELS, 4, 2, 40, rank=1, size=2)) == 20
    with pytest.raises(DataError, match="4 persons cannot be shared by 3"):
        PersonSampler(LABELS, 4, 2, 40, size=3)


@pytest.mark.parametrize("persons", [1, 8])
def test_more_persons_than_there_are_and_a_single_one_are_refused(persons):
    with pytest.raises(DataError, match=f"of 7 there are.*got {persons}"):
        PersonSampler(LABELS, persons, 4, 100)


@pytest.mark.parametrize(
    ("length", "num", "frames"),
    [(9, 5, [0, 2, 4, 6, 8]), (3, 5, [0, 0, 1, 2, 2]), (10, 1, [0]), (1, 3, [0, 0, 0])],
)
def test_frames_at_equal_distances(length, num, frames):
    assert spread(length, num) == frames


def test_a_sample_is_a_clip_of_its_tracklet_with_person_and_camera(tmp_path):
    people(tmp_path, persons=range(2), videos=2, frames=6)
    found = load_people(str(tmp_path), camera=r"c(\d)").train
    given = dict(window=ClipWindow(4), look=Look((32, 32)))
    clips = TrackletClips(found, {"person00": 0, "person01": 1}, **given)
    assert len(clips) == 4
    clip, label = clips[4 * 9 + 3]
    assert clip.shape == (3, 4, 32, 32)
    assert label.tolist() == [1, 1, 3]
    assert torch.equal(clips[39][0], clip)
    assert not torch.equal(clips[43][0], clip)
    blurred = TrackletClips(found, clips.persons, blur=1.0, **given)[39][0]
    assert not torch.equal(blurred, clip)
    still = TrackletClips(found, clips.persons, vary=False, **given)
    assert torch.equal(still[3][0], still[43][0])
    assert TrackletClips(load_people(str(tmp_path)).train, clips.persons, **given)[0][1][1] == -1
    with pytest.raises(DataError, match="got none"):
        TrackletClips([], {}, **given)


def test_motion_blur_is_a_mean_along_a_line():
    flat = torch.full((3, 2, 12, 12), 0.7)
    torch.testing.assert_close(motion_blur(flat, np.random.default_rng(0)), flat)
    level = line(5, 0.0)
    assert level.sum() == pytest.approx(1)
    assert torch.nonzero(level)[:, 0].unique().tolist() == [2]
    assert len(torch.nonzero(level)) == 5
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1
    spot = motion_blur(point, np.random.default_rng(1))
    assert spot.sum() == pytest.approx(1, abs=1e-5)
    assert 3 <= int((spot > 0).sum()) <= 20
