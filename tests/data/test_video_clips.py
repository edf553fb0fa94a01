import numpy as np
import pytest
import torch
from films import FILMS, REAL, film
from PIL import Image

from lean3d.data.pixels import fit_frame
from lean3d.data.video import VideoFile
from lean3d.data.video_clips import SCALES, VideoClips, find_videos, split_videos
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


def test_classes_are_the_folders_in_order_with_all_their_videos(root):
    names, videos = find_videos(root)
    assert names == ["bow", "wave"]
    assert [(path.name, label) for path, label in videos] == [
        ("0.mp4", 0),
        ("images", 0),
        ("0.mp4", 1),
        ("1.mp4", 1),
        ("2.mp4", 1),
    ]


def test_a_share_of_every_class_is_held_out_and_no_video_is_in_both_parts(root):
    _, videos = find_videos(root)
    train, val = split_videos(videos, 0.4, seed=0)
    assert sorted(train + val) == sorted(videos)
    assert [label for _, label in val] == [0, 1]
    assert split_videos(videos, 0.4, 0) == (train, val)
    assert len({tuple(split_videos(videos, 0.4, seed)[1]) for seed in range(9)}) > 1


def test_without_variation_a_clip_is_the_middle_of_the_video(root):
    path = root / "wave" / "0.mp4"
    clip, label = VideoClips([(path, 1)], 1, clip=4, size=24, vary=False)[0]
    frames = [frame.pixels for frame in VideoFile(path)]
    expected = torch.stack([fit_frame(pixels, (24, 24)) for pixels in frames[3:7]], 1)
    torch.testing.assert_close(clip, expected)
    assert (int(label), label.dtype) == (1, torch.int64)


def test_varied_clips_begin_anywhere_and_seed_and_index_decide_them(root):
    videos = [(root / "bow" / "images", 0)]
    clips = VideoClips(videos, 40, clip=3, size=16)
    firsts = {round(float((clip[0, 0, 0, 0] * 0.225 + 0.45) * 255)) for clip, _ in clips}
    assert firsts == {0, 10, 20, 30}
    again = VideoClips(videos, 40, clip=3, size=16)
    assert all(torch.equal(clips[i][0], again[i][0]) for i in range(5))


def test_a_varied_clip_shows_one_square_of_one_of_the_scales_in_all_its_frames(tmp_path):
    # red says the column, green the row
    pixels = np.zeros((64, 80, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 3 * np.arange(80), 3 * np.arange(64)[:, None]
    for number in range(2):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    sides, lefts, tops = set(), set(), set()
    for clip, _ in VideoClips([(tmp_path, 0)], 80, clip=2, size=16):
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
    clip, _ = VideoClips([(root / "bow" / "images", 0)], 1, clip=8, size=16, vary=False)[0]
    values = ((clip[0, :, 0, 0] * 0.225 + 0.45) * 255).round().int().tolist()
    assert values == [0, 10, 20, 30, 40, 50, 0, 10]


def test_the_key_changes_with_whatever_changes_the_clips(root):
    videos = find_videos(root)[1]
    size = dict(clip=4, size=24)
    keys = {
        VideoClips(videos, 5, **size).key,
        VideoClips(videos[1:], 5, **size).key,
        VideoClips(videos, 6, **size).key,
        VideoClips(videos, 5, 1, **size).key,
        VideoClips(videos, 5, clip=5, size=24).key,
    }
    assert len(keys) == 5
    assert VideoClips(videos, 5, **size).key in keys


def test_a_damaged_video_stops_before_the_first_clip(root, tmp_path):
    (tmp_path / "torn.mp4").write_text("no video" * 50)
    with pytest.raises(DataError, match=r"torn\.mp4"):
        VideoClips([(root / "wave" / "0.mp4", 0), (tmp_path / "torn.mp4", 1)], 1, clip=4, size=24)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_video_cut_behind_its_index_stops_before_the_first_clip(tmp_path, share):
    path = film(tmp_path / "cut.mp4", frames=40, options={"movflags": "faststart"})
    VideoClips([(path, 0)], 1, clip=4, size=16)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"cut\.mp4 is truncated: its index promises 40 frames"):
        VideoClips([(path, 0)], 1, clip=4, size=16)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.ts", "a.mpg"])
def test_a_whole_video_passes_the_check_of_its_index(tmp_path, name):
    path = film(tmp_path / name, frames=40, rate=25)
    VideoFile(path).check_index()


@pytest.mark.parametrize(("name", "size", "frames"), REAL)
def test_real_videos_pass_the_check_of_their_index(name, size, frames):
    if not (FILMS / name).exists():
        pytest.skip(f"{FILMS / name} is not there")
    VideoFile(FILMS / name).check_index()


@pytest.mark.parametrize("bad", [dict(clip=0, size=9), dict(clip=4, size=0)])
def test_refuses_clips_that_hold_nothing(root, bad):
    with pytest.raises(DataError, match="VideoClips needs"):
        VideoClips(find_videos(root)[1], 1, **bad)


def test_folders_that_cannot_be_learnt_from_are_sentences(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        find_videos(tmp_path / "nowhere")
    (tmp_path / "wave").mkdir()
    with pytest.raises(DataError, match="1 class folder"):
        find_videos(tmp_path)
    (tmp_path / "bow").mkdir()
    with pytest.raises(DataError, match="bow holds no video"):
        find_videos(tmp_path)
    with pytest.raises(DataError, match="wave has one video"):
        split_videos([(tmp_path / "wave" / "a.mp4", 0)], 0.2, 0)
