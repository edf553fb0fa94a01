import threading
import time

import pytest
import torch

from lean3d.data.frames import FrameSource
from lean3d.data.prefetch import Prefetch
from lean3d.errors import DataError


class Numbers(FrameSource):
    """`num` frames as fast as they are taken, then an error or the end."""

    def __init__(self, num, error=None, fps=25.0, live=False):
        self.name, self.fps, self.num, self.error, self.live = "numbers", fps, num, error, live
        self.given, self.closed = 0, threading.Event()

    def read(self):
        for value in range(self.num):
            self.given += 1
            yield torch.full((2, 2, 3), value, dtype=torch.uint8), None
        if self.error:
            raise self.error

    def close(self):
        self.closed.set()


def values(frames):
    return [int(frame.pixels[0, 0, 0]) for frame in frames]


def test_a_file_loses_no_frame_and_is_read_no_further_than_the_queue():
    source = Numbers(50)
    frames = Prefetch(source, capacity=3)
    first = frames.take()
    time.sleep(0.05)
    # one taken, three waiting, one that waits for a place
    assert source.given <= 5
    assert values([first, *frames]) == list(range(50))
    assert frames.dropped == 0


def test_a_live_source_drops_its_oldest_frames_and_counts_them():
    source = Numbers(50, live=True)
    frames = Prefetch(source, capacity=3)
    assert source.closed.wait(10)
    assert values(frames) == [47, 48, 49]
    assert frames.dropped == 47


def test_dropping_can_be_asked_for_and_refused():
    source = Numbers(10)
    frames = Prefetch(source, capacity=2, drop_oldest=True)
    assert source.closed.wait(10)
    assert (values(frames), frames.dropped) == ([8, 9], 8)
    assert values(Prefetch(Numbers(10, live=True), capacity=2, drop_oldest=False)) == list(
        range(10)
    )


def test_an_error_comes_after_the_frames_before_it():
    frames = iter(Prefetch(Numbers(3, DataError("numbers is torn"))))
    assert values(next(frames) for _ in range(3)) == [0, 1, 2]
    with pytest.raises(DataError, match="torn"):
        next(frames)


def test_closing_ends_the_thread_and_the_source():
    source = Numbers(10_000)
    frames = Prefetch(source, capacity=2)
    frames.take()
    frames.close()
    assert source.closed.wait(10)
    assert source.given < 10
    assert frames.take() is None


def test_paced_frames_come_no_sooner_than_their_times():
    start = time.monotonic()
    assert len(list(Prefetch(Numbers(6, fps=50.0), pace=True))) == 6
    assert time.monotonic() - start >= 5 / 50
