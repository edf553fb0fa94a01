"""Addresses and cameras: what a server on this machine sends is what the model sees."""

import itertools

import pytest
import servers
from films import brightness, film

from lean3d.data import video
from lean3d.data.prefetch import Prefetch
from lean3d.data.source import open_frames
from lean3d.errors import DataError

LIGHT = [10 * t + 10 for t in range(12)]


def read(address, live=True):
    source = open_frames(address)
    assert source.live == live
    frames = list(Prefetch(source, drop_oldest=False))
    return [frame.seconds for frame in frames], brightness(frames)


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_a_file_on_a_web_server_gives_its_frames(tmp_path, name):
    film(tmp_path / name)
    with servers.http(tmp_path) as address:
        # an MP4 says how long it is, so no frame of it need be lost
        seconds, light = read(f"{address}/{name}", live=name == "a.ts")
    assert light == pytest.approx(LIGHT, abs=3)
    assert seconds == pytest.approx([t / 10 for t in range(12)])


def test_an_rtsp_server_gives_its_frames(tmp_path):
    path = film(tmp_path / "a.mp4")
    with servers.rtsp(path) as address:
        _, light = read(address)
    assert light == pytest.approx(LIGHT, abs=3)


def test_a_tcp_address_gives_its_frames(tmp_path):
    path = film(tmp_path / "a.ts")
    with servers.tcp(path.read_bytes()) as address:
        _, light = read(address)
    assert light == pytest.approx(LIGHT, abs=3)


def test_frames_come_from_a_udp_address_while_it_is_sent_to(tmp_path):
    path = film(tmp_path / "a.ts", frames=40)
    with servers.udp(path.read_bytes()) as address:
        frames = Prefetch(open_frames(address))
        taken = list(itertools.islice(frames, 5))
        frames.close()
    assert len(taken) == 5
    assert {tuple(frame.pixels.shape) for frame in taken} == {(48, 64, 3)}


def test_a_page_that_is_not_there_is_one_sentence(tmp_path):
    with (
        servers.http(tmp_path) as address,
        pytest.raises(DataError, match=r"cannot read http://.*/none\.mp4: .*404"),
    ):
        open_frames(f"{address}/none.mp4")


def test_an_address_that_breaks_off_keeps_what_came_before(tmp_path):
    path = film(tmp_path / "a.ts", frames=40)
    data = path.read_bytes()
    with servers.tcp(data[: len(data) // 2]) as address:
        _, light = read(address)
    assert 10 < len(light) < 30


@pytest.fixture
def camera(monkeypatch):
    """A device of FFmpeg's own that is read as a camera is, and gives so many seconds."""
    words = "testsrc=size=64x48:rate=20:duration={},realtime"
    monkeypatch.setattr(video, "CAMERAS", dict.fromkeys(video.CAMERAS, ("lavfi", words)))


@pytest.mark.usefixtures("camera")
def test_a_camera_gives_frames_at_its_pace():
    source = open_frames("camera:0.5")
    assert (source.name, source.live, source.fps) == ("camera:0.5", True, 20)
    frames = list(Prefetch(source, drop_oldest=False))
    assert [frame.seconds for frame in frames] == pytest.approx([t / 20 for t in range(10)])
    assert frames[0].pixels.shape == (48, 64, 3)
    assert not frames[0].pixels.equal(frames[9].pixels)


@pytest.mark.usefixtures("camera")
def test_a_camera_nobody_keeps_up_with_drops_its_oldest_frames():
    frames = Prefetch(open_frames("camera:0.5"), capacity=2)
    frames._thread.join(servers.PATIENCE)
    assert [frame.index for frame in frames] == [8, 9]
    assert frames.dropped == 8
