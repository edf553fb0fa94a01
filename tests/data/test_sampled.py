import pytest
import torch

from lean3d.data.frames import FrameSource
from lean3d.data.sampled import Sampled
from lean3d.errors import DataError


class Timed(FrameSource):
    name, fps = "timed", 60.0

    def __init__(self, seconds):
        self.seconds = seconds

    def read(self):
        for second in self.seconds:
            yield torch.zeros(2, 2, 3, dtype=torch.uint8), second


SIXTY = [t / 60 for t in range(61)]


@pytest.mark.parametrize(
    ("step", "fps", "expected", "rate"),
    [
        (1, None, range(61), 60),
        (2, None, range(0, 61, 2), 30),
        (1, 15, range(0, 61, 4), 15),
        (2, 15, range(0, 61, 8), 7.5),
        (1, 25, [0, 3, 5, 8, 10, 12, 15, 17, 20, 22, 24], 25),
        (1, 90, range(61), 60),
    ],
)
def test_frames_are_taken_at_the_step_and_the_rate_and_keep_their_numbers(
    step, fps, expected, rate
):
    source = Sampled(Timed(SIXTY), step, fps)
    found = [frame.index for frame in source]
    assert found[: len(list(expected))] == list(expected)
    assert source.fps == rate


def test_a_gap_in_time_is_not_made_up_for():
    seconds = [0, 0.1, 0.2, 2.0, 2.01, 2.02, 2.1]
    assert [frame.index for frame in Sampled(Timed(seconds), fps=10)] == [0, 1, 2, 3, 6]


def test_a_step_of_nothing_is_refused():
    with pytest.raises(DataError, match="a step of 1 or more"):
        Sampled(Timed(SIXTY), 0)
