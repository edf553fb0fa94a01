"""Videos that the claims' commands draw on the device."""

import numpy as np
import pytest
import torch

from lean3d.data import MOTIONS, MovingDigits
from lean3d.data.digits import _ink, digit_images
from papers.digit_videos import draw_ink
from papers.gesture_videos import Gestures
from papers.stdcf.action_videos import ACTIONS, Actions, draw_actions
from papers.stdcf.reconstruct import TINY, Moving

pytest.importorskip("sklearn")


def test_ink_in_batches_is_that_of_moving_digits():
    random = np.random.default_rng(0)
    poses = random.normal(size=(3, 5, 4)) * 0.5
    images = digit_images("train")[:3]
    found = draw_ink(images, torch.from_numpy(poses), 24, 24)
    for n in range(3):
        torch.testing.assert_close(found[n], _ink(images[n], poses[n], 24))


def test_the_edges_of_a_wide_frame_are_joined():
    image = torch.ones(1, 8, 8)
    pose = torch.zeros(1, 2, 4)
    pose[..., 3] = np.log(0.3)
    pose[0, 1, 0] = 2 * 80 / 60  # once around
    same = draw_ink(image, pose, 60, 80)[0]
    torch.testing.assert_close(same[0], same[1], atol=1e-4, rtol=0)
    pose[0, 1, 0] = 80 / 60  # half the way: the middle is at the edge
    torch.testing.assert_close(draw_ink(image, pose, 60, 80)[0, 1], same[0].roll(40, 1))
    # as many pixels high as wide
    assert (same[0] > 0.5).any(0).sum() == (same[0] > 0.5).any(1).sum() == 18


def test_gestures_are_those_of_moving_digits_in_shape_class_and_looks():
    videos = Gestures(0, "train", "cpu", frames=12, clip=8, size=20)
    x, label = videos.draw(torch.arange(46))
    assert x.shape == (46, 3, 8, 20, 20)
    assert label.tolist() == [n % len(MOTIONS) for n in range(46)]
    same, _ = Gestures(0, "train", "cpu", frames=12, clip=8, size=20).draw(torch.arange(46))
    assert torch.equal(x, same)
    other, _ = videos.draw(torch.arange(46, 92))
    assert not torch.equal(x, other)
    theirs = MovingDigits(92, 0, frames=12, clip=8, size=20)
    theirs = torch.stack([theirs[n][0] for n in range(92)])
    x = torch.cat([x, other])
    assert abs(x.mean() - theirs.mean()) < 0.1
    assert abs(x.std() - theirs.std()) < 0.1


def test_slow_gestures_move_less():
    def moved(speed):
        x, label = Gestures(0, "val", "cpu", speed=speed, noise=0.0).draw(torch.arange(46))
        still = label == MOTIONS.index("still")
        changes = (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3, 4))
        return changes[~still].mean(), changes[still].max()

    slow, fast = moved(1 / 3), moved(1.0)
    assert slow[0] < 0.6 * fast[0]
    assert slow[1] < 1e-5


def test_actions_differ_in_the_speed_of_the_digit():
    look = Actions(noise=0.0)
    x, label = draw_actions(60, 0, "train", look, "cpu")
    assert x.shape == (60, 1, 16, 60, 80)
    change = (x[:, 0, 1:] - x[:, 0, :-1]).abs().mean((1, 2, 3))
    speed = [change[label == ACTIONS.index(name)].median() for name in ("walk", "jog", "run")]
    assert speed[0] < speed[1] < speed[2]
    again, _ = draw_actions(60, 0, "train", look, "cpu")
    assert torch.equal(x, again)
    assert not torch.equal(x, draw_actions(60, 0, "val", look, "cpu")[0])


def test_clips_to_reconstruct_move_and_are_new_in_every_batch():
    moving = Moving(TINY, 0, "train", "cpu")
    x, same = moving.draw(torch.arange(8))
    assert x is same
    assert x.shape == (8, 1, 8, 16, 16)
    assert 0 <= x.min() < x.max() <= 1
    assert (x[:, :, 1:] - x[:, :, :-1]).abs().amax((1, 2, 3, 4)).min() > 0.05
    assert not torch.equal(x, moving.draw(torch.arange(8, 16))[0])
