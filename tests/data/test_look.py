import numpy as np
import pytest
import torch

from lean3d.data.look import SCALES, Box, Look
from lean3d.errors import DataError


def boxes(look, frame_hw, num=400):
    draw = np.random.default_rng(0)
    return [look.random(frame_hw, draw) for _ in range(num)]


def inside(box, frame_hw):
    top, left, height, width = box
    return min(top, left) >= 0 and top + height <= frame_hw[0] and left + width <= frame_hw[1]


@pytest.mark.parametrize("frame_hw", [(256, 340), (340, 256), (100, 100), (30, 500)])
@pytest.mark.parametrize("size", [(64, 64), (60, 80)])
@pytest.mark.parametrize("crop", ["scales", "corners", "short_side", "middle"])
def test_every_box_lies_in_the_frame_and_has_the_shape_of_the_clip(frame_hw, size, crop):
    look = Look(size, crop, short_side=(96, 128) if crop == "short_side" else None)
    for box in [*boxes(look, frame_hw, 50), look.middle(frame_hw), *look.three(frame_hw)]:
        assert inside(box, frame_hw)
        assert box.height / box.width == pytest.approx(size[0] / size[1], rel=0.06)


def test_a_short_side_is_drawn_from_its_range_and_scaled_to():
    look = Look((224, 224), "short_side", short_side=(256, 320))
    sides = {box.height for box in boxes(look, (512, 680))}
    # 224 of a frame scaled to 256 is 448 of one of 512; to 320, 358
    assert (min(sides), max(sides)) == (358, 448)
    assert look.middle((512, 680)) == Box(32, 116, 448, 448)


def test_corner_crops_lie_in_the_corners_and_the_middle_at_four_scales():
    look = Look((112, 112), "corners")
    found = {(box.height, box.top, box.left) for box in boxes(look, (100, 200))}
    sides = [round(100 * scale) for scale in SCALES]
    expected = {
        (side, top, left)
        for side in sides
        for top, left in (
            *((0, 0), (0, 200 - side), (100 - side, 0), (100 - side, 200 - side)),
            ((100 - side) // 2, (200 - side) // 2),
        )
    }
    assert found == expected


@pytest.mark.parametrize(
    ("frame_hw", "expected"),
    [
        ((256, 340), [(0, 0), (0, 42), (0, 84)]),
        ((340, 256), [(0, 0), (42, 0), (84, 0)]),
    ],
)
def test_three_crops_cover_the_longer_side(frame_hw, expected):
    look = Look((256, 256), short_side=(256, 256))
    assert [box[:2] for box in look.three(frame_hw)] == expected


def test_the_middle_is_always_the_same():
    look = Look((60, 80), "middle")
    assert set(boxes(look, (120, 160), 20)) == {look.middle((120, 160))} == {Box(0, 0, 120, 160)}


def test_a_mirrored_clip_is_mirrored_and_a_class_with_a_direction_never_is():
    look = Look((8, 8), flip=True, directed=frozenset({2}))
    draw = np.random.default_rng(0)
    assert {look.mirrors(1, draw) for _ in range(50)} == {True, False}
    assert {look.mirrors(2, draw) for _ in range(50)} == {False}
    assert {Look((8, 8)).mirrors(1, draw) for _ in range(50)} == {False}
    frame = torch.randint(0, 255, (8, 8, 3), dtype=torch.uint8)
    plain, mirrored = (look.apply([frame], Box(0, 0, 8, 8), m) for m in (False, True))
    assert torch.equal(mirrored, plain.flip(-1))


def test_pixels_are_normalised_by_the_mean_and_deviation_of_each_channel():
    frame = torch.randint(0, 255, (8, 8, 3), dtype=torch.uint8)
    look = Look((8, 8), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    clip = look.apply([frame, frame], Box(0, 0, 8, 8))
    expected = (frame.permute(2, 0, 1) / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / (
        torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    )
    torch.testing.assert_close(clip[:, 1], expected)


def test_grey_is_the_luma_of_the_colours():
    frame = torch.zeros(8, 8, 3, dtype=torch.uint8)
    frame[..., 1] = 255
    clip = Look((8, 8), channels=1, mean=(0.0,), std=(1.0,)).apply([frame], Box(0, 0, 8, 8))
    assert clip.shape == (1, 1, 8, 8)
    assert float(clip.mean()) == pytest.approx(0.587)


def test_a_frame_of_another_size_shows_the_same_part():
    large = torch.zeros(40, 60, 3, dtype=torch.uint8)
    large[:, 30:] = 200
    small = large[::2, ::2]
    look = Look((10, 10), mean=(0.0,), std=(1.0,))
    clip = look.apply([large, small], Box(0, 40, 20, 20))
    torch.testing.assert_close(clip[:, 0], clip[:, 1], atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(size=(0, 8)), "a size of 1"),
        (dict(size=(8, 8), channels=2), "1 or 3 channels"),
        (dict(size=(8, 8), crop="short_side"), "needs short_side"),
        (dict(size=(8, 8), short_side=(320, 256)), "is a range"),
    ],
)
def test_looks_that_cannot_be_are_refused(bad, message):
    with pytest.raises(DataError, match=message):
        Look(**bad)
