"""Videos damaged in their middle: what can be decoded is used, and each is named once."""

import re

import numpy as np
import pytest
from torch.utils.data import DataLoader

from lean3d.data.clip_window import ClipWindow
from lean3d.data.damage import Damage
from lean3d.data.frame_times import measure
from lean3d.data.listing import Recording
from lean3d.data.look import Look
from lean3d.data.source import open_frames
from lean3d.data.video_clips import VideoClips, read_clip
from lean3d.errors import DataError
from tests.data.films import brightness, film, spoil

# key frames only: each packet costs its own frame
ALONE = {"g": "1"}


def levels(frames):
    return [round(float(frame.float().mean())) for frame in frames]


@pytest.fixture(scope="module", params=["f.mp4", "f.avi"])
def holed(request, tmp_path_factory):
    """Twenty frames of brightness 10, 20, ...; those from 12 to 16 cannot be decoded."""
    path = film(tmp_path_factory.mktemp("holed") / request.param, 20, encode=ALONE)
    times = measure(path)
    return spoil(path, 12, 16, content=0), times


@pytest.mark.parametrize(
    ("numbers", "seen"),
    [
        (range(9, 13), [9, 10, 11, 11]),
        (range(10, 20), [10, 11, 11, 11, 11, 11, 11, 17, 18, 19]),
        (range(15, 19), [17, 17, 17, 18]),
        (range(12, 16), [11, 11, 11, 11]),
        ([13, 2, 18], [2, 2, 18]),
    ],
)
def test_a_frame_that_cannot_be_decoded_is_the_one_before_it_or_else_the_next(holed, numbers, seen):
    path, times = holed
    found = levels(read_clip(path, list(numbers), times))
    assert found == pytest.approx([10 * t + 10 for t in seen], abs=3)


@pytest.mark.parametrize("workers", [0, 2])
def test_of_all_clips_one_sentence_names_the_video_and_counts(holed, capfd, workers):
    path, times = holed
    clips = VideoClips(
        [Recording(path, (0,)), Recording(path, (1,), seconds=(1.0, 1.5))],
        8,
        window=ClipWindow(10),
        look=Look((16, 16)),
        times={path: times},
    )
    for _ in range(2):
        assert len(list(DataLoader(clips, num_workers=workers))) == 8
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("lean3d:")]
    assert len(said) == 1
    assert re.search(rf"{path.name}: 5 packet\(s\) could not be decoded", said[0])


def test_a_whole_video_is_not_named(tmp_path, capfd):
    path = film(tmp_path / "f.mp4", 20)
    read_clip(path, range(10, 20), measure(path), Damage([path]))
    assert "lean3d:" not in capfd.readouterr().err


def test_what_h264_shows_in_part_is_named_too(tmp_path, capfd):
    path = film(tmp_path / "f.mp4", 30, (64, 80), codec="libx264", encode={"g": "10", "bf": "0"})
    import av

    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data, (at, size) = bytearray(path.read_bytes()), packets[10]
    data[at + size // 3 : at + size] = bytes(size - size // 3)
    path.write_bytes(data)
    frames = read_clip(path, range(8, 24), measure(path), Damage([path]))
    assert len(frames) == 16
    assert re.search(r"f.mp4: .*(packet|part)", capfd.readouterr().err)


def test_a_file_made_in_its_full_length_and_not_filled_is_truncated(tmp_path):
    path = spoil(film(tmp_path / "f.mp4", 40, codec="libx264"), 20, 39, content=0)
    with pytest.raises(DataError, match=r"f.mp4 is truncated: .* 40 frames and it holds \d+"):
        measure(path)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("f.mkv", "libx264"),
        ("f.webm", "libvpx"),
        ("f.avi", "mpeg4"),
        ("f.flv", "flv1"),
        ("f.ts", "mpeg2video"),
        ("f.mpg", "mpeg2video"),
    ],
)
def test_half_a_file_without_an_index_is_truncated(tmp_path, name, codec):
    path = film(tmp_path / name, 40, codec=codec)
    whole = path.read_bytes()
    assert measure(path).num == 40
    half = len(whole) // 2
    # nothing in the other two says how long they were
    for rest in (bytes(half), b"") if name not in ("f.ts", "f.mpg") else (bytes(half),):
        path.write_bytes(whole[:half] + rest)
        with pytest.raises(DataError, match=rf"{name} is truncated: it"):
            measure(path)


@pytest.mark.parametrize(("name", "start"), [("f.mkv", 3000), ("f.mkv", -500), ("f.flv", 200)])
def test_a_segment_of_a_recording_that_begins_late_is_whole(tmp_path, name, start):
    path = shifted(film(tmp_path / "whole.mp4", 20, codec="libx264"), tmp_path / name, start)
    assert measure(path).num == len(list(open_frames(str(path)))) == 20
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(DataError, match=f"{name} is truncated: it promises"):
        measure(path)


@pytest.mark.parametrize("apart", ["20", "1"])
def test_a_film_cut_without_encoding_it_again_is_whole(tmp_path, apart):
    whole = film(tmp_path / "whole.mp4", 20, codec="libx264", encode={"g": apart, "bf": "0"})
    path = shifted(whole, tmp_path / "f.mp4", -700)
    seen = brightness(open_frames(str(path)))
    assert measure(path).num == len(seen) == 13
    assert seen == brightness(open_frames(str(whole)))[7:]


def shifted(path, out, ms):
    """Write the packets of a film at later times; a player does not show those below 0."""
    import av

    with av.open(str(path)) as given, av.open(str(out), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.pts += round(ms / 1000 / packet.time_base)
                packet.dts += round(ms / 1000 / packet.time_base)
                packet.stream = stream
                made.mux(packet)
    return out


def test_sound_that_goes_on_is_no_missing_video(tmp_path):
    import av

    path = tmp_path / "f.mkv"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("mpeg4", 10), container.add_stream("aac", 8000)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame(32, 32, "rgb24")))
        for start in range(0, 24000, 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "f4"), "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, start
            container.mux(sound.encode(silence))
        container.mux([*video.encode(), *sound.encode()])
    assert measure(path).num == 10


def test_a_video_of_which_nothing_can_be_decoded_is_refused_by_name(tmp_path):
    path = film(tmp_path / "f.mp4", 20, encode=ALONE)
    times = measure(path)
    spoil(path, 0, 19, content=0)
    with pytest.raises(DataError, match=r"f.mp4"):
        read_clip(path, range(10, 20), times)
