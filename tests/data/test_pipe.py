import io
import os

import pytest
import torch

from lean3d.data.frame_times import measure
from lean3d.data.pipe import RawFrames, read_raw_size
from lean3d.data.source import public_name
from lean3d.errors import DataError


class Drops(io.BytesIO):
    """Gives a few bytes at a time, as a pipe does."""

    def read(self, size):
        return super().read(min(size, 7))


def test_bare_frames_are_put_together_from_what_the_pipe_gives():
    pixels = torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8)
    frames = list(RawFrames(Drops(pixels.numpy().tobytes()), 5, 4, 20))
    assert torch.equal(torch.stack([frame.pixels for frame in frames]), pixels)
    assert [frame.seconds for frame in frames] == [0, 0.05, 0.1]


def test_a_pipe_that_ends_within_a_frame_is_one_sentence():
    frames = iter(RawFrames(io.BytesIO(bytes(60 + 59)), 5, 4))
    next(frames)
    with pytest.raises(DataError, match="stdin ends within frame 1: 59 of the 60 bytes of 5 x 4"):
        next(frames)


def test_an_empty_pipe_is_one_sentence():
    with pytest.raises(DataError, match="stdin holds no frame"):
        list(RawFrames(io.BytesIO(), 5, 4))


@pytest.mark.parametrize(
    ("words", "size"),
    [("64x48", (64, 48, 25)), ("64x48@30", (64, 48, 30)), ("2x3@7.5", (2, 3, 7.5))],
)
def test_a_raw_size_is_read(words, size):
    assert read_raw_size(words) == size


@pytest.mark.parametrize("words", ["64", "64x", "0x4", "4x4@", "4x4@0", "axb", "-4x4"])
def test_what_is_no_raw_size_is_refused(words):
    with pytest.raises(DataError, match="WIDTHxHEIGHT"):
        read_raw_size(words)


@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("rtsp://user:p@ss/w@host/a", "rtsp://host/a"),
        ("rtsp:/user:pass@host/a", "rtsp:/host/a"),
        ("RTSP://user:pass@host/a", "RTSP://host/a"),
        ("https://host/a?x=1&token=b", "https://host/a?x=***&token=***"),
        ("a@b.mp4", "a@b.mp4"),
        ("-", "-"),
    ],
)
def test_a_source_is_named_without_its_passwords(what, shown):
    assert public_name(what) == shown


def test_a_pipe_among_the_videos_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=r"a\.mp4 is no file"):
        measure(tmp_path / "a.mp4")
