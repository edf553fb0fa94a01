import pytest
import torch

from lean3d.errors import ShapeError
from papers.d3d.segments import accuracy_by_segment, erase_middle


def test_each_part_of_the_videos_is_scored_by_its_own_frames():
    label = torch.tensor([0, 1, 2, 3])
    scores = torch.zeros(4, 20, 4)
    # right from frame 10 on, wrong before
    scores[range(4), :10, [1, 2, 3, 0]] = 1.0
    scores[range(4), 10:, label] = 1.0
    assert accuracy_by_segment(scores, label) == [0.0] * 5 + [1.0] * 5
    assert accuracy_by_segment(scores, label, 2) == [0, 1]


def test_a_part_is_scored_by_the_mean_of_its_frames():
    scores = torch.tensor([[[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]]])
    assert accuracy_by_segment(scores, torch.tensor([1]), 1) == [1.0]


def test_frames_that_do_not_divide_are_shared_out():
    scores = torch.rand(3, 32, 5)
    assert len(accuracy_by_segment(scores, torch.zeros(3))) == 10


@pytest.mark.parametrize("parts", [0, 5])
def test_more_parts_than_frames_are_refused(parts):
    with pytest.raises(ShapeError, match=f"4 frames cannot be cut into {parts}"):
        accuracy_by_segment(torch.rand(1, 4, 2), torch.zeros(1), parts)


@pytest.mark.parametrize(("share", "kept"), [(0, 20), (0.5, 10), (0.95, 1), (1, 0)])
def test_the_middle_becomes_noise_and_the_ends_stay(share, kept):
    x = torch.randn(50, 20, 3)
    erased = erase_middle(x, share)
    same = (erased == x).all(-1).all(0)
    assert int(same.sum()) == kept
    first = int(same.long().argmin()) if kept < 20 else 20
    assert first == (20 - (20 - kept)) // 2 or kept == 20
    assert not x.eq(erased).all() or kept == 20


def test_the_noise_is_as_strong_as_the_features_and_the_seed_decides_it():
    x = torch.randn(400, 20, 2) * torch.tensor([1.0, 5.0]) + torch.tensor([3.0, -1.0])
    erased = erase_middle(x, 1.0)
    torch.testing.assert_close(erased.mean((0, 1)), x.mean((0, 1)), atol=0.3, rtol=0)
    torch.testing.assert_close(erased.std((0, 1)), x.std((0, 1)), atol=0, rtol=0.05)
    assert torch.equal(erased, erase_middle(x, 1.0))
    assert not torch.equal(erased, erase_middle(x, 1.0, seed=1))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_from_0_to_1(share):
    with pytest.raises(ShapeError, match="share from 0 to 1"):
        erase_middle(torch.rand(1, 4, 2), share)
