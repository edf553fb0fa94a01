import json

import numpy as np
import pytest
import torch
from films import FILMS, REAL, film
from PIL import Image

from lean3d.data import frame_read, frame_times
from lean3d.data.frame_read import read_frames
from lean3d.data.frame_times import INDEX, FrameIndex, FrameTimes, measure
from lean3d.data.video import VideoFile
from lean3d.data.video_write import write_video
from lean3d.errors import DataError

# MPEG-TS and MPEG-PS are read from their front
KINDS = [
    ("a.mp4", "libx264", True),
    ("a.mov", "mpeg4", True),
    ("a.mkv", "libx264", True),
    ("a.webm", "libvpx", True),
    ("a.avi", "mpeg4", True),
    ("a.avi", "libx264", False),
    ("a.ts", "mpeg4", False),
    ("a.mpg", "mpeg2video", False),
    ("a.wmv", "wmv2", True),
    ("a.264", "libx264", False),
]


@pytest.mark.parametrize(("name", "codec", "seeks"), KINDS)
def test_frames_by_number_are_those_of_reading_from_the_front(tmp_path, name, codec, seeks):
    path = film(tmp_path / name, 60, codec=codec, rate=25, encode={"g": "10"})
    every = [frame.pixels for frame in VideoFile(path)]
    times = measure(path)
    assert (times.num, len(every)) == (60, 60)
    assert times.seekable == seeks
    for first in (0, 9, 10, 29, 31, 56):
        wanted = [first, first + 1, first + 3]
        found = read_frames(path, wanted, times)
        assert all(torch.equal(a, every[n]) for a, n in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("name", "size", "frames"), REAL)
def test_frames_of_real_videos_by_number_are_those_of_reading_from_the_front(name, size, frames):
    if not (FILMS / name).exists():
        pytest.skip("the real videos are not here")
    every = [frame.pixels for frame in VideoFile(FILMS / name)]
    assert measure(FILMS / name).num == frames
    for first in (20, 101, 150):
        found = read_frames(FILMS / name, [first, first + 2])
        assert torch.equal(found[0], every[first])
        assert torch.equal(found[1], every[first + 2])


@pytest.mark.parametrize(("name", "codec"), [kind[:2] for kind in KINDS[:5]])
def test_frames_by_number_are_those_of_torchcodec(tmp_path, name, codec):
    try:
        decoders = pytest.importorskip("torchcodec.decoders")
    except (OSError, RuntimeError):  # without FFmpeg's libraries
        pytest.skip("torchcodec does not load")
    path = film(tmp_path / name, 60, codec=codec, rate=25, encode={"g": "10"})
    theirs = decoders.VideoDecoder(path, dimension_order="NHWC")
    assert len(theirs) == 60
    for first in (0, 9, 31, 56):
        wanted = [first, first + 1, first + 3]
        found = read_frames(path, wanted, measure(path))
        assert torch.equal(torch.stack(found), theirs.get_frames_at(wanted).data)


def test_no_more_is_decoded_than_from_the_key_frame_before(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", 200, codec="libx264", encode={"g": "10", "bf": "0"})
    seen = []
    frames = VideoFile.frames
    monkeypatch.setattr(
        VideoFile, "frames", lambda *a: (seen.append(f.pts) or f for f in frames(*a))
    )
    read_frames(path, [155, 156])
    assert len(seen) <= 12


def test_frames_that_no_other_is_made_from_are_not_decoded(tmp_path):
    encode = {"x264-params": "keyint=60:bframes=3:b-adapt=0:scenecut=0"}
    path = film(tmp_path / "a.mp4", 60, codec="libx264", encode=encode)
    times, every = measure(path), list(VideoFile(path))
    wanted = [40, 45, 50]
    ticks = {times.tick(number) for number in wanted}
    video = VideoFile(path)
    decoded = [frame.pts for frame in video.frames(ticks)]
    assert ticks <= set(decoded)
    assert len(decoded) < 45
    for number, pixels in zip(wanted, read_frames(path, wanted, times), strict=True):
        assert torch.equal(pixels, every[number].pixels)


def test_a_file_whose_times_mislead_is_read_from_its_front(tmp_path):
    path = film(tmp_path / "a.mp4", 40, codec="libx264")
    every = [frame.pixels for frame in VideoFile(path)]
    good = measure(path)
    wrong = FrameTimes(good.num, good.base, good.start + 7, good.step)
    assert torch.equal(read_frames(path, [20], wrong)[0], every[20])


def test_a_variable_rate_is_known_by_the_time_of_every_frame(tmp_path):
    seconds = [0, 0.1, 0.2, 1.2, 1.3, 4.0]
    with write_video(tmp_path / "a.mkv", 10) as writer:
        for t, second in enumerate(seconds):
            writer.write(torch.full((32, 32, 3), 40 * t, dtype=torch.uint8), second)
    times = measure(tmp_path / "a.mkv")
    assert [times.seconds(t) for t in range(6)] == pytest.approx(seconds, abs=0.001)
    assert [times.at(s) for s in (0, 0.15, 1.2, 3.9, 4.0, 99)] == [0, 1, 3, 4, 5, 5]
    assert times.fps == pytest.approx(5 / 4)


def test_a_folder_of_images_has_their_number_and_25_a_second(tmp_path):
    for number in range(3):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
    times = measure(tmp_path)
    assert (times.num, times.fps, times.at(0.08)) == (3, 25, 2)


def test_times_are_found_once_and_kept_beside_the_data(tmp_path, monkeypatch):
    (tmp_path / "wave").mkdir()
    paths = [film(tmp_path / "wave" / f"{n}.mkv", 5 + n) for n in range(3)]
    found, errors = FrameIndex(tmp_path).times(paths)
    assert ([found[path].num for path in paths], errors) == ([5, 6, 7], {})
    lines = (tmp_path / INDEX).read_text().splitlines()
    assert {json.loads(line)["file"] for line in lines} == {f"wave/{n}.mkv" for n in range(3)}
    opened = []
    monkeypatch.setattr(frame_times, "measure", lambda path: opened.append(path) or measure(path))
    assert FrameIndex(tmp_path).times(paths)[0] == found
    assert opened == []
    # a file that has changed, and a line that was not written to its end, are found anew
    film(paths[0], 9)
    text = (tmp_path / INDEX).read_text()
    (tmp_path / INDEX).write_text(text[: len(text) - 20])
    again = FrameIndex(tmp_path).times(paths)[0]
    assert again[paths[0]].num == 9
    assert 1 <= len(opened) <= 2


def test_an_index_that_cannot_be_written_is_done_without(tmp_path):
    path = film(tmp_path / "a.mkv", 5)
    (tmp_path / INDEX).mkdir()
    assert FrameIndex(tmp_path).times([path])[0][path].num == 5


def test_a_damaged_file_is_an_error_of_its_own_and_not_kept(tmp_path):
    whole, torn = film(tmp_path / "a.mkv", 5), tmp_path / "torn.mp4"
    torn.write_text("no video" * 50)
    found, errors = FrameIndex(tmp_path).times([whole, torn])
    assert (list(found), list(errors)) == ([whole], [torn])
    assert "torn.mp4" not in (tmp_path / INDEX).read_text()


def test_frames_beyond_the_end_are_an_error_that_names_the_file(tmp_path):
    path = film(tmp_path / "a.mkv", 5)
    with pytest.raises(DataError, match=r"a\.mkv has fewer frames"):
        frame_read.read_frames(path, [50])
