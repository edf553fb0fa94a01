import itertools
import struct
import subprocess
import sys

import av
import numpy as np
import pytest
import torch
from films import FILMS, REAL, brightness, film
from PIL import Image, ImageOps

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


def both_sizes(folder):
    """Two programmes one after the other, as a recorded broadcast can have them."""
    sizes = [(48, 64), (32, 64)]
    one, two = (film(folder / f"{n}.ts", 5, size) for n, size in enumerate(sizes))
    path = folder / "both.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    return path


def test_frames_may_change_their_size_and_are_written_at_the_first_one(tmp_path):
    frames = list(VideoFile(both_sizes(tmp_path)))
    assert [tuple(f.pixels.shape[:2]) for f in frames] == 5 * [(48, 64)] + 5 * [(32, 64)]
    with write_video(tmp_path / "one.mp4", 10) as writer:
        for frame in frames:
            writer.write(frame.pixels, frame.index / 10)
    written = list(VideoFile(tmp_path / "one.mp4"))
    assert {tuple(frame.pixels.shape[:2]) for frame in written} == {(48, 64)}
    light = [frame.pixels.float().mean() for frame in written]
    assert light[5] == pytest.approx(float(frames[5].pixels.float().mean()), abs=4)


def test_one_damaged_packet_costs_its_frame_alone_and_is_counted(tmp_path):
    path = film(tmp_path / "f.mp4", 60, codec="libx264", options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    at, size = packets[25]
    data[at : at + size] = bytes(size)
    path.write_bytes(data)
    video = VideoFile(path)
    frames = list(video)
    assert video.damaged == 1
    assert len(frames) >= 58
    assert frames[-1].seconds == pytest.approx(5.9)


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        tone.rate = 8000
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*cover.encode(picture), *cover.encode()]:
            container.mux(packet)
        container.mux(sound.encode(tone))
        container.mux(sound.encode())
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    assert "holds no video" in says(path)


# shown: red upper left, green upper right, blue lower left, grey lower right
COLOURS = [(220, 20, 20), (20, 200, 20), (20, 20, 220), (90, 90, 90)]


def corners(pixels):
    """Numbers of the colours of the upper left, upper right, lower left and lower right."""
    high, wide = pixels.shape[:2]
    places = [(y, x) for y in (high // 4, 3 * high // 4) for x in (wide // 4, 3 * wide // 4)]
    near = [
        pixels[place].float().sub(torch.tensor(COLOURS).float()).norm(dim=1) for place in places
    ]
    return [int(one.argmin()) for one in near]


def coloured(size=(96, 128)):
    high, wide = size
    x = np.zeros((high, wide, 3), np.uint8)
    rows, columns = np.arange(high) >= high // 2, np.arange(wide) >= wide // 2
    for number, colour in enumerate(COLOURS):
        x[np.ix_(rows == (number > 1), columns == number % 2)] = colour
    return x


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), [0, 1, 2, 3]),
        ((0, 1, -1, 0), [2, 0, 3, 1]),
        ((-1, 0, 0, -1), [3, 2, 1, 0]),
        ((0, -1, 1, 0), [1, 3, 0, 2]),
        ((-1, 0, 0, 1), [1, 0, 3, 2]),
        ((0, 1, 1, 0), [0, 2, 1, 3]),
    ],
)
def test_a_film_is_shown_as_its_header_turns_it(tmp_path, matrix, shown):
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(coloured(), format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 8 + 20 + 16
    a, b, c, d = (n << 16 for n in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    frames = list(VideoFile(path))
    assert tuple(frames[0].pixels.shape[:2]) == ((128, 96) if matrix[0] == 0 else (96, 128))
    assert [corners(frame.pixels) for frame in frames] == [shown] * 3


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_shown_as_its_exif_orientation_turns_it(tmp_path, suffix, orientation):
    image, exif = Image.fromarray(coloured()), Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"1.{suffix}", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / f"1.{suffix}")))
    (frame,) = open_frames(str(tmp_path))
    assert frame.pixels.shape == expected.shape
    assert corners(frame.pixels) == corners(torch.from_numpy(expected.copy()))


def test_a_file_may_be_called_by_a_time(tmp_path, monkeypatch):
    film(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.mp4", "./12:30.mp4"):
        assert len(list(open_frames(name))) == 12
    with write_video("12:31.mkv", 10) as writer:
        writer.write(torch.zeros(32, 32, 3, dtype=torch.uint8), 0)
    assert len(list(open_frames("12:31.mkv"))) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_of_a_variable_rate_keep_their_times(tmp_path, name):
    times = [0, 0.01, 0.02, 0.5, 0.51, 0.52, 2.0, 2.1]
    with write_video(tmp_path / name, fps=4) as writer:
        for seconds in times:
            writer.write(torch.zeros(32, 32, 3, dtype=torch.uint8), seconds)
    assert [f.seconds for f in VideoFile(tmp_path / name)] == pytest.approx(times, abs=0.001)


def test_in_avi_a_frame_whose_place_is_taken_is_left_out(tmp_path):
    with write_video(tmp_path / "a.avi", fps=10) as writer:
        for seconds in (0, 0.01, 0.02, 0.03, 0.5):
            writer.write(torch.zeros(32, 32, 3, dtype=torch.uint8), seconds)
    with av.open(str(tmp_path / "a.avi")) as container:
        times = [packet.dts for packet in container.demux(video=0) if packet.size]
    assert times[-1] == 5


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


@pytest.mark.slow
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
    assert seconds == pytest.approx([0, 0.1, 0.5, 0.5], abs=1e-4)
    assert seconds[3] > seconds[2]


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
