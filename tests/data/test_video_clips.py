import numpy as np
import pytest
import torch
from films import FILMS, REAL, film
from PIL import Image

from lean3d.data.clip_window import ClipWindow
from lean3d.data.listing import Recording
from lean3d.data.look import SCALES, Look
from lean3d.data.pixels import fit_frame
from lean3d.data.video import VideoFile
from lean3d.data.video_clips import VideoClips, with_times
from lean3d.errors import DataError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two classes: three films of wave, two of them and a folder of images of bow."""
    root = tmp_path_factory.mktemp("videos")
    for name, num in (("wave", 3), ("bow", 1)):
        (root / name).mkdir()
        for number in range(num):
            film(root / name / f"{number}.mp4", frames=10)
    (root / "bow" / "images").mkdir()
    for number in range(6):
        pixels = np.full((30, 40, 3), 10 * number, np.uint8)
        Image.fromarray(pixels).save(root / "bow" / "images" / f"{number}.png")
    (root / "notes.txt").write_text("not a class")
    return root


def drawn(videos, num=1, seed=0, *, clip=4, size=24, vary=True, step=1, fps=None, **look):
    recordings = [Recording(path, (label,)) for path, label in videos]
    sides = size if isinstance(size, tuple) else (size, size)
    given = dict(window=ClipWindow(clip, step, fps), look=Look(sides, **look), vary=vary)
    return VideoClips(recordings, num, seed, **given)


def test_without_variation_a_clip_is_the_middle_of_the_video(root):
    path = root / "wave" / "0.mp4"
    clip, label = drawn([(path, 1)], vary=False)[0]
    frames = [frame.pixels for frame in VideoFile(path)]
    expected = torch.stack([fit_frame(pixels, (24, 24)) for pixels in frames[3:7]], 1)
    torch.testing.assert_close(clip, expected)
    assert (int(label), label.dtype) == (1, torch.int64)


def test_varied_clips_begin_anywhere_and_seed_and_index_decide_them(root):
    videos = [(root / "bow" / "images", 0)]
    clips = drawn(videos, 40, clip=3, size=16)
    firsts = {round(float((clip[0, 0, 0, 0] * 0.225 + 0.45) * 255)) for clip, _ in clips}
    assert firsts == {0, 10, 20, 30}
    again = drawn(videos, 40, clip=3, size=16)
    assert all(torch.equal(clips[i][0], again[i][0]) for i in range(5))


def test_a_varied_clip_shows_one_square_of_one_of_the_scales_in_all_its_frames(tmp_path):
    # red says the column, green the row
    pixels = np.zeros((64, 80, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 3 * np.arange(80), 3 * np.arange(64)[:, None]
    for number in range(2):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    sides, lefts, tops = set(), set(), set()
    for clip, _ in drawn([(tmp_path, 0)], 80, clip=2, size=16):
        assert torch.equal(clip[:, 0], clip[:, 1])
        column, row = ((clip[:2, 0] * 0.225 + 0.45) * 85).unbind()
        wide, high = column[0, 15] - column[0, 0], row[15, 0] - row[0, 0]
        assert float(wide) == pytest.approx(float(high), abs=0.5)
        sides.add(min(SCALES, key=lambda scale: abs(scale * 64 * 15 / 16 - float(wide))))
        lefts.add(round(float(column[0, 0])))
        tops.add(round(float(row[0, 0])))
    assert sides == set(SCALES)
    assert min(len(lefts), len(tops)) > 10


def test_a_short_video_begins_anew_at_its_end(root):
    clip, _ = drawn([(root / "bow" / "images", 0)], clip=8, size=16, vary=False)[0]
    values = ((clip[0, :, 0, 0] * 0.225 + 0.45) * 255).round().int().tolist()
    assert values == [0, 10, 20, 30, 40, 50, 0, 10]


def test_the_key_changes_with_whatever_changes_the_clips(root):
    videos = [(path, 0) for path in sorted((root / "wave").iterdir())]
    others = dict(num=6), dict(seed=1), dict(clip=5), dict(step=2), dict(size=25), dict(flip=True)
    keys = {drawn(videos, **{"num": 5, **other}).key for other in others}
    keys |= {drawn(videos, 5).key, drawn(videos[1:], 5).key}
    assert len(keys) == len(others) + 2
    assert drawn(videos, 5).key in keys


def test_a_damaged_video_stops_before_the_first_clip(root, tmp_path):
    (tmp_path / "torn.mp4").write_text("no video" * 50)
    with pytest.raises(DataError, match=r"torn\.mp4"):
        drawn([(root / "wave" / "0.mp4", 0), (tmp_path / "torn.mp4", 1)])


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_video_cut_behind_its_index_stops_before_the_first_clip(tmp_path, share):
    path = film(tmp_path / "cut.mp4", frames=40, options={"movflags": "faststart"})
    drawn([(path, 0)])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"cut\.mp4 is truncated: its index promises 40 frames"):
        drawn([(path, 0)])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.ts", "a.mpg"])
def test_a_whole_video_passes_the_check_of_its_index(tmp_path, name):
    path = film(tmp_path / name, frames=40, rate=25)
    VideoFile(path).check_index()


@pytest.mark.parametrize(("name", "size", "frames"), REAL)
def test_real_videos_pass_the_check_of_their_index(name, size, frames):
    if not (FILMS / name).exists():
        pytest.skip(f"{FILMS / name} is not there")
    VideoFile(FILMS / name).check_index()


@pytest.mark.parametrize("bad", [dict(clip=0), dict(size=0), dict(step=0), dict(fps=0)])
def test_refuses_clips_that_hold_nothing(root, bad):
    with pytest.raises(DataError, match="a clip has"):
        drawn([(root / "bow" / "images", 0)], **bad)


def values(clip_CTHW):
    """Brightness of the middle of each frame, 0 to 255."""
    middle = clip_CTHW[0, :, clip_CTHW.shape[2] // 2, clip_CTHW.shape[3] // 2]
    return ((middle * 0.225 + 0.45) * 255).round().int().tolist()


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    """Sixty images at 25 a second; image t has brightness 4 t."""
    folder = tmp_path_factory.mktemp("stills")
    for number in range(60):
        Image.fromarray(np.full((20, 30, 3), 4 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("frames", "step", "fps", "expected"),
    [
        (8, 2, None, range(22, 38, 2)),
        (8, 7, None, range(5, 60, 7)),
        (5, 1, 5.0, [15, 20, 25, 30, 35]),
        (3, 2, 5.0, [15, 25, 35]),
    ],
)
def test_a_clip_holds_every_so_many_frames_at_the_rate_asked_for(
    stills, frames, step, fps, expected
):
    clip, _ = drawn([(stills, 0)], clip=frames, step=step, fps=fps, vary=False, size=16)[0]
    assert values(clip) == [4 * number for number in expected]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (dict(frames=(30, 34)), [30, 31, 32, 33]),
        (dict(frames=(58, 99)), [58, 59, 58, 59]),
        (dict(seconds=(1.2, 1.32)), [30, 31, 32, 33]),
        (dict(seconds=(2.2, None)), [55, 56, 57, 58]),
    ],
)
def test_a_clip_lies_within_the_stretch_of_its_recording(stills, span, expected):
    recording = Recording(stills, (0,), **span)
    for vary in (False, True):
        clips = VideoClips([recording], 9, window=ClipWindow(4), look=Look((16, 16)), vary=vary)
        found = [[value // 4 for value in values(clip)] for clip, _ in clips]
        assert expected in found
        assert all(min(expected) <= min(numbers) for numbers in found)


def test_of_several_labels_a_sample_has_one_and_over_an_epoch_all(stills):
    recording = Recording(stills, (3, 5))
    given = dict(window=ClipWindow(2), look=Look((16, 16)))
    labels = {int(label) for _, label in VideoClips([recording], 20, **given)}
    assert labels == {3, 5}


def test_damaged_videos_are_left_out_on_request_and_named(root, tmp_path):
    (tmp_path / "torn.mp4").write_text("no video" * 50)
    both = [Recording(root / "wave" / "0.mp4", (0,)), Recording(tmp_path / "torn.mp4", (1,))]
    with pytest.raises(DataError, match=r"torn\.mp4.*--skip-damaged leaves them out"):
        with_times(both)
    whole, times, errors = with_times(both, skip_damaged=True)
    assert (whole, list(times)) == (both[:1], [both[0].path])
    assert "torn.mp4" in str(errors[0])


def test_a_stretch_that_begins_after_the_end_of_its_video_is_refused_or_left_out(root):
    path = root / "wave" / "0.mp4"
    late, inside = Recording(path, (0,), (50.0, 60.0)), Recording(path, (0,), (0.1, 60.0))
    with pytest.raises(DataError, match=r"0.mp4 ends after 1.00 s and is listed from 50.00 s on"):
        with_times([inside, late])
    kept, _, errors = with_times([inside, late], skip_damaged=True)
    assert (kept, len(errors)) == ([inside], 1)
