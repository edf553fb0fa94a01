import pytest
import torch

from lean3d.report.caption import Caption, best
from lean3d.report.drawing import COLOURS

NAMES = ("left", "right", "up", "down", "still", "shake")


def rgb(colour):
    return torch.tensor([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def pixels(picture_HWC, colour, part=slice(None)):
    """How many pixels of a part of the rows have a colour."""
    return int((picture_HWC[part] == rgb(colour)).all(-1).sum())


def shares(*values):
    return torch.tensor([*values, *[0.0] * (len(NAMES) - len(values))])


def test_the_best_classes_come_first_with_their_names():
    scores = best(shares(0.1, 0.6, 0.3), NAMES, 2)
    assert [name for name, _ in scores] == ["right", "up"]
    torch.testing.assert_close(torch.tensor([s for _, s in scores]), torch.tensor([0.6, 0.3]))
    assert len(best(torch.tensor([0.5, 0.5]), ("a", "b"))) == 2


def test_the_frame_is_at_least_480_wide_above_its_bars_and_timeline():
    small = Caption(NAMES).draw(torch.zeros(30, 40, 3, dtype=torch.uint8), shares(1), 0)
    large = Caption(NAMES).draw(torch.zeros(600, 800, 3, dtype=torch.uint8), shares(1), 0)
    assert (small.dtype, small.shape[1], large.shape[1]) == (torch.uint8, 480, 800)
    assert pixels(small, "#000000", slice(0, 360)) == 360 * 480
    assert pixels(large, "#000000", slice(0, 600)) == 600 * 800
    assert small.shape[0] - 360 == large.shape[0] - 600 > 150


def test_a_bar_is_as_long_as_its_probability():
    frame = torch.zeros(36, 48, 3, dtype=torch.uint8)
    below = slice(360, None)
    lengths = []
    for share in (0.2, 0.4, 0.8):
        picture = Caption(NAMES).draw(frame, shares(0, share), 0)
        lengths.append(pixels(picture, COLOURS[1], below))
    assert 1.8 < lengths[1] / lengths[0] < 2.2
    assert 1.8 < lengths[2] / lengths[1] < 2.2


def test_the_timeline_keeps_the_last_seconds_only():
    caption = Caption(NAMES, seconds=2)
    frame = torch.zeros(36, 48, 3, dtype=torch.uint8)
    for t in range(8):
        picture = caption.draw(frame, shares(1.0) if t < 4 else shares(0, 1.0), t * 0.5)
    assert [when for when, _ in caption.past] == [1.5, 2.0, 2.5, 3.0, 3.5]
    timeline = slice(picture.shape[0] - 110, None)
    assert pixels(picture, COLOURS[1], timeline) > pixels(picture, COLOURS[0], timeline) > 0


def test_a_class_keeps_its_colour_whatever_its_rank():
    frame = torch.zeros(36, 48, 3, dtype=torch.uint8)
    for values in (shares(0.9, 0.1), shares(0.1, 0.9)):
        picture = Caption(NAMES).draw(frame, values, 0)
        first_bar = slice(370, 390)
        place = int(values.argmax())
        assert pixels(picture, COLOURS[place], first_bar) > 0
        assert pixels(picture, COLOURS[1 - place], first_bar) == 0


@pytest.mark.parametrize("times", [[3.0] * 30, [9.0, 0.0] * 15, [float("nan")] * 30])
def test_the_timeline_is_bounded_whatever_the_timestamps(times, monkeypatch):
    monkeypatch.setattr("lean3d.report.caption.MOST", 12)
    caption, frame = Caption(NAMES), torch.zeros(36, 48, 3, dtype=torch.uint8)
    for seconds in times:
        caption.past.append((seconds, shares(1)))
    caption.draw(frame, shares(1), times[-1])
    assert len(caption.past) <= 12
