import numpy as np
import pytest
import torch

from lean3d.data import digits
from lean3d.data.digits import MovingDigits, digit_images, draw_poses
from lean3d.data.motions import MOTIONS, PAIRS, Motion, path
from lean3d.errors import DataError

pytest.importorskip("sklearn")


def test_a_sample_is_a_clip_and_the_number_of_its_motion():
    clip_CTHW, label = MovingDigits(30, frames=24, clip=19, size=40)[25]
    assert (clip_CTHW.shape, clip_CTHW.dtype) == ((3, 19, 40, 40), torch.float32)
    assert (int(label), label.dtype) == (25 % len(MOTIONS), torch.int64)


def test_no_image_of_a_digit_is_in_both_splits():
    train, val = ({image.numpy().tobytes() for image in digit_images(s)} for s in ("train", "val"))
    assert len(train | val) == 1797
    assert not train & val
    assert len(val) == 360


def test_the_splits_draw_from_their_own_digits():
    for split in ("train", "val"):
        assert torch.equal(MovingDigits(1, split=split).images, digit_images(split))


def test_seed_and_index_decide_a_sample():
    one, same, other = (MovingDigits(5, seed) for seed in (1, 1, 2))
    assert torch.equal(one[3][0], same[3][0])
    assert not torch.equal(one[3][0], other[3][0])
    assert not torch.equal(one[3][0], one[3 + len(MOTIONS)][0])


def test_a_clip_is_a_piece_of_its_video_from_any_place(monkeypatch):
    monkeypatch.setattr(digits, "GREY_NOISE", 0)
    starts = set()
    for index in range(20):
        whole, _ = MovingDigits(1, frames=12)[index]
        piece, _ = MovingDigits(1, frames=12, clip=9)[index]
        starts |= {i for i in range(4) if torch.equal(whole[:, i : i + 9], piece)}
    assert starts == {0, 1, 2, 3}


def centre(ink_HW):
    """Where the ink lies on joined edges, in units of half a side."""
    size = len(ink_HW)
    places = np.exp(1j * np.pi * ((2 * np.arange(size) + 1) / size - 1))
    return [np.angle((ink_HW.sum(axis) * places).sum()) / np.pi for axis in (0, 1)]


@pytest.mark.parametrize(
    ("pose", "place"), [((0.5, 0, 0, -1), (0.5, 0)), ((0, -0.9, 0, -1), (0, -0.9))]
)
def test_the_ink_lies_where_the_pose_says_also_across_the_edge(pose, place):
    ink_HW = digits._ink(torch.ones(8, 8), np.array([pose]), 64)[0].numpy()
    assert centre(ink_HW) == pytest.approx(place, abs=0.02)


def test_the_ink_of_the_right_half_turns_down_with_the_clock_and_grows_with_the_size():
    bar = torch.zeros(8, 8)
    bar[:, 4:] = 1  # the right half
    quarter = digits._ink(bar, np.array([(0, 0, np.pi / 2, -1)]), 64)[0].numpy()
    x, y = centre(quarter)
    assert abs(x) < 0.02
    assert y > 0.1
    poses = np.array([(0, 0, 0, -2), (0, 0, 0, -1)])
    small, large = digits._ink(torch.ones(8, 8), poses, 64).sum((1, 2)).tolist()
    assert large / small == pytest.approx(np.e**2, rel=0.05)


def first_pair_frames(pair, num, frame, random):
    poses = np.stack([draw_poses(name, 32, random)[frame] for name in pair for _ in range(num)])
    return poses[:num], poses[num:]


@pytest.mark.parametrize("pair", [PAIRS[i : i + 2] for i in range(0, 10, 2)])
@pytest.mark.parametrize("frame", [0, 20])
def test_the_pose_of_one_frame_has_one_distribution_for_both_orders(pair, frame):
    """Place and angle are uniform on their circles: all moments are within noise of zero."""
    num = 800
    for poses in first_pair_frames(pair, num, frame, np.random.default_rng(0)):
        circles = np.exp(1j * poses[:, :3] * np.pi * np.array([1, 1, 1 / np.pi]))
        assert (abs(circles.mean(0)) < 4 / num**0.5).all()


def test_single_frames_do_not_tell_the_ordered_pairs_apart_and_clips_do():
    """The nearest neighbour among frames of known videos, against the same among their steps."""
    pair = MOTIONS.index("left_right"), MOTIONS.index("right_left")
    videos = MovingDigits(1, frames=16, size=16)

    def draw(first, num):
        samples = [
            videos.pixels(i * len(MOTIONS) + p) for i in range(first, first + num) for p in pair
        ]
        pixels = torch.stack([x for x, _ in samples]).mean(2)
        return pixels, torch.tensor([label for _, label in samples])

    (known, names), (asked, truth) = draw(0, 150), draw(150, 75)

    def right(feature):
        near = torch.cdist(feature(asked).flatten(1), feature(known).flatten(1)).argmin(1)
        return float((names[near] == truth).float().mean())

    assert 0.36 < right(lambda x: x[:, 8]) < 0.64

    def steps(x):
        # how well the second half of a step matches the first, moved left or right
        before, after = x[:, :5].flatten(0, 1), x[:, 2:7].flatten(0, 1)
        match = [(after - before.roll(shift, -1)).square().mean((-1, -2)) for shift in (-1, 0, 1)]
        return torch.stack(match, -1).view(len(x), 5, 3).mean(1)

    moved = steps(asked)
    said = torch.where(moved[:, 0] < moved[:, 2], pair[0], pair[1])
    assert float((said == truth).float().mean()) > 0.95


def test_played_backwards_a_drawn_video_is_one_of_the_claimed_class():
    motion = Motion(turn=0.45)
    forwards = digits._ink(digit_images("val")[0], path("left_up", 12, motion), 32)
    end = path("left_up", 12, motion)[-1]
    backwards = path("down_right", 12, motion.turned_round()) + end * [1, 1, 1, 0]
    torch.testing.assert_close(
        forwards.flip(0), digits._ink(digit_images("val")[0], backwards, 32), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    "bad", [dict(frames=8, clip=9), dict(clip=1), dict(size=8), dict(frames=1)]
)
def test_refuses_what_it_cannot_draw(bad):
    with pytest.raises(DataError, match="MovingDigits needs"):
        MovingDigits(1, **bad)
