import itertools
import subprocess
import sys

import av
import numpy as np
import pytest
import torch
from films import FILMS, REAL, brightness, film

from lean3d.data.source import open_frames
from lean3d.data.video import Camera, VideoFile
from lean3d.data.video_write import write_video
from lean3d.errors import DataError


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_a_file_gives_its_frames_in_order_with_their_times(tmp_path, name):
    video = VideoFile(film(tmp_path / name))
    frames = list(video)
    assert (video.fps, video.live) == (10, False)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.seconds for frame in frames] == pytest.approx([t / 10 for t in range(12)])
    assert brightness(frames) == pytest.approx([10 * t + 10 for t in range(12)], abs=3)
    assert (frames[0].pixels.shape, frames[0].pixels.dtype) == ((48, 64, 3), torch.uint8)


@pytest.mark.parametrize(("name", "size", "frames"), REAL)
def test_real_videos_are_read_to_their_end(name, size, frames):
    if not (FILMS / name).exists():
        pytest.skip("the real videos are not here")
    read = list(VideoFile(FILMS / name))
    assert len(read) == frames
    assert {tuple(frame.pixels.shape[:2]) for frame in read} == {size}
    assert all(a.seconds < b.seconds for a, b in itertools.pairwise(read))


def says(path):
    with pytest.raises(DataError) as raised:
        list(open_frames(str(path)))
    assert path.name in str(raised.value)
    return str(raised.value)


def test_a_truncated_mp4_is_one_sentence(tmp_path):
    path = film(tmp_path / "whole.mp4", frames=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged or truncated" in says(path)


def test_a_truncated_avi_is_told_by_the_frames_it_promises(tmp_path):
    path = film(tmp_path / "half.avi", frames=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "promises 40 frames and ends after" in says(path)


@pytest.mark.parametrize("name", ["text.mp4", "text.txt"])
def test_a_file_that_is_no_video_is_one_sentence(tmp_path, name):
    (tmp_path / name).write_text("no film at all\n" * 50)
    assert "no video" in says(tmp_path / name)


def test_an_empty_file_is_one_sentence(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "cannot read" in says(tmp_path / "empty.mp4")


def test_sound_without_pictures_is_one_sentence(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert "holds no video" in says(path)


def test_a_codec_that_is_not_there_is_one_sentence(tmp_path):
    path = film(tmp_path / "odd.avi")
    data = path.read_bytes()
    assert b"FMP4" in data
    path.write_bytes(data.replace(b"FMP4", b"ZZZZ"))
    assert "no decoder" in says(path)


def test_a_frame_of_another_size_is_told_by_its_number(tmp_path):
    """Two programmes one after the other, as a recorded broadcast can have them."""
    one, two = (film(tmp_path / f"{n}.ts", 5, size) for n, size in enumerate([(48, 64), (32, 64)]))
    path = tmp_path / "both.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    said = says(path)
    assert "changes its size" in said
    assert "64 x 32 pixels, those before 64 x 48" in said


def test_a_missing_file_a_single_image_and_a_camera_that_is_not_there_are_sentences(tmp_path):
    with pytest.raises(DataError, match=r"no file or folder .*nowhere\.mp4"):
        open_frames(str(tmp_path / "nowhere.mp4"))
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(DataError, match="one image; give the folder"):
        open_frames(str(tmp_path / "one.png"))
    with pytest.raises(DataError, match="there is no camera '87'"):
        Camera("87")
    with pytest.raises(DataError, match="there is no camera '87'"):
        open_frames("camera:87")


def test_an_address_that_does_not_answer_is_one_sentence():
    with pytest.raises(DataError, match="cannot read rtsp://127"):
        open_frames("rtsp://127.0.0.1:1/nothing")


def test_a_video_file_can_come_through_a_pipe(tmp_path):
    path = film(tmp_path / "a.mkv")
    code = "from lean3d.data.source import open_frames\nprint(sum(1 for _ in open_frames('-')))"
    with path.open("rb") as file:
        run = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True)
    assert run.stdout.split() == [b"12"], run.stderr


def test_an_mp4_with_its_index_at_the_end_says_so_in_a_pipe(tmp_path):
    code = "from lean3d.data.source import open_frames\nlist(open_frames('-'))"
    data = film(tmp_path / "a.mp4", frames=100, size=(240, 320)).read_bytes()
    assert data.find(b"moov") > data.find(b"mdat")
    run = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True)
    last = run.stderr.decode().splitlines()[-1]
    assert "cannot read stdin" in last
    assert "index at the end" in last


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_what_is_written_is_read_again(tmp_path, name):
    with write_video(tmp_path / name, fps=12.5) as writer:
        for t in range(6):
            writer.write(torch.full((33, 51, 3), 40 * t, dtype=torch.uint8), t / 12.5)
    video = VideoFile(tmp_path / name)
    frames = list(video)
    assert video.fps == 12.5
    assert frames[0].pixels.shape == (34, 52, 3)
    assert brightness(frames) == pytest.approx([40 * t for t in range(6)], abs=4)
    assert [frame.seconds for frame in frames] == pytest.approx([t / 12.5 for t in range(6)])


def test_frames_that_were_dropped_leave_a_gap_and_equal_times_are_parted(tmp_path):
    with write_video(tmp_path / "a.mp4", fps=10) as writer:
        for seconds in (0, 0.1, 0.5, 0.5):
            writer.write(torch.zeros(32, 32, 3, dtype=torch.uint8), seconds)
    seconds = [frame.seconds for frame in VideoFile(tmp_path / "a.mp4")]
    assert seconds == pytest.approx([0, 0.1, 0.5, 0.6])


def test_a_video_that_fails_leaves_what_stood_there(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")

    def fail():
        with write_video(path, 10) as writer:
            writer.write(torch.zeros(32, 32, 3, dtype=torch.uint8), 0)
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"before"


def test_a_video_of_no_frame_or_of_an_unknown_kind_is_refused(tmp_path):
    with (
        pytest.raises(DataError, match="no frame was written"),
        write_video(tmp_path / "a.mp4", 10),
    ):
        pass
    with (
        pytest.raises(DataError, match=r"\.mp4, \.mkv, \.avi"),
        write_video(tmp_path / "a.gif", 10),
    ):
        pass
    assert not list(tmp_path.iterdir())
