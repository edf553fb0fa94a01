import numpy as np
import pytest

from lean3d.data.motions import MOTIONS, PAIRS, Motion, draw_motion, path, turned_round

UNEVEN = Motion(turn=0.42, speed=1.3, any_leg="up", swings=3)


def shape(poses_T4):
    """Poses from where they begin."""
    return poses_T4 - poses_T4[0]


def test_there_are_at_least_sixteen_classes_and_ten_ordered_pairs():
    assert len(set(MOTIONS)) == len(MOTIONS) >= 16
    assert set(PAIRS) < set(MOTIONS)
    assert len(PAIRS) == 10


@pytest.mark.parametrize("name", MOTIONS)
def test_a_motion_played_backwards_is_one_of_its_claimed_class(name):
    forwards = path(name, 32, UNEVEN)
    backwards = path(turned_round(name), 32, UNEVEN.turned_round())
    np.testing.assert_allclose(shape(forwards[::-1]), shape(backwards), atol=1e-12)


def test_turning_time_round_twice_changes_nothing():
    assert [turned_round(turned_round(name)) for name in MOTIONS] == list(MOTIONS)
    assert turned_round("left") == "right"
    assert turned_round("left_up") == "down_right"
    assert turned_round("halt") == "start"
    assert turned_round("left_right") == "left_right"


@pytest.mark.parametrize(("one", "other"), [PAIRS[i : i + 2] for i in range(0, 10, 2)])
def test_a_pair_and_its_exchange_visit_the_same_steps_in_another_order(one, other):
    even = Motion(turn=0.5)
    one, other = (np.diff(path(name, 33, even), axis=0) for name in (one, other))
    np.testing.assert_allclose(one[:16], other[16:], atol=1e-12)
    np.testing.assert_allclose(one[16:], other[:16], atol=1e-12)
    assert abs(one[:16] - other[:16]).max() > 0.01


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1), ("cw", 2, 1), ("in", 3, 1)],
)
def test_a_leg_changes_one_part_of_the_pose_at_an_even_speed(name, axis, sign):
    steps = np.diff(path(name, 16, Motion(speed=1.0)), axis=0)
    assert (np.delete(steps, axis, 1) == 0).all()
    np.testing.assert_allclose(steps[:, axis], steps[0, axis])
    assert np.sign(steps[0, axis]) == sign


def test_every_choice_of_a_motion_changes_some_path():
    plain = Motion()
    for name, other in (
        ("left_right", Motion(turn=0.4)),
        ("left", Motion(speed=1.2)),
        ("halt", Motion(any_leg="up")),
        ("shake", Motion(swings=-2)),
    ):
        assert abs(path(name, 16, plain) - path(name, 16, other)).max() > 0.01


def test_a_drawn_motion_turns_near_the_middle():
    drawn = [draw_motion(np.random.default_rng(seed)) for seed in range(50)]
    assert all(0.4 <= motion.turn <= 0.6 for motion in drawn)
    assert {motion.any_leg for motion in drawn} == {"left", "right", "up", "down"}
    assert {motion.swings for motion in drawn} == {-3, -2, 2, 3}
