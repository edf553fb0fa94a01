import numpy as np
import pytest
from films import brightness
from PIL import Image

from lean3d.data.source import open_frames
from lean3d.errors import DataError


def image(path, value, size=(20, 30)):
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_images_come_in_the_order_of_their_numbers(tmp_path, suffix):
    for number in (10, 9, 1):
        image(tmp_path / f"frame{number}.{suffix}", 20 * number)
    (tmp_path / "notes.txt").write_text("not an image")
    frames = list(open_frames(str(tmp_path), fps=4))
    assert brightness(frames) == pytest.approx([20, 180, 200], abs=2)
    assert [frame.seconds for frame in frames] == [0, 0.25, 0.5]


def test_an_empty_folder_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} holds no image"):
        open_frames(str(tmp_path))


def test_hidden_files_and_those_of_systems_are_no_images(tmp_path):
    image(tmp_path / "1.png", 50)
    for name in ("._1.png", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / "@eaDir").mkdir()
    assert brightness(open_frames(str(tmp_path))) == [50]


def test_images_may_differ_in_size(tmp_path):
    image(tmp_path / "1.png", 0)
    image(tmp_path / "2.png", 0, (20, 31))
    sizes = [tuple(frame.pixels.shape[:2]) for frame in open_frames(str(tmp_path))]
    assert sizes == [(20, 30), (20, 31)]


def test_a_damaged_image_is_named_after_those_before_it(tmp_path):
    image(tmp_path / "1.png", 50)
    path = image(tmp_path / "2.png", 0)
    path.write_bytes(path.read_bytes()[:20])
    frames = iter(open_frames(str(tmp_path)))
    assert brightness([next(frames)]) == [50]
    with pytest.raises(DataError, match=r"2\.png"):
        next(frames)
