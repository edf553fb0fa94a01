import pytest
import torch

from lean3d.data.pixels import fit_frame, normalise_pixels


def test_the_usual_mean_becomes_nought_and_the_usual_deviation_one():
    x = normalise_pixels(torch.tensor([0.45, 0.675]))
    torch.testing.assert_close(x, torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize(("size", "target"), [((48, 64), 32), ((64, 48), 32), ((20, 30), 48)])
def test_a_frame_becomes_a_square_of_the_models_size(size, target):
    x_CHW = fit_frame(torch.zeros(*size, 3, dtype=torch.uint8), (target, target))
    assert x_CHW.shape == (3, target, target)
    torch.testing.assert_close(x_CHW, torch.full_like(x_CHW, -2.0))


def test_the_middle_is_kept_and_the_sides_are_cut():
    pixels_HWC = torch.zeros(10, 30, 3, dtype=torch.uint8)
    pixels_HWC[:, 10:20] = 255
    assert fit_frame(pixels_HWC, (10, 10)).min() == normalise_pixels(torch.tensor(1.0))
    pixels_HWC = torch.zeros(30, 10, 3, dtype=torch.uint8)
    pixels_HWC[10:20] = 255
    assert fit_frame(pixels_HWC, (10, 10)).min() == normalise_pixels(torch.tensor(1.0))


def test_a_wide_input_takes_a_wide_part():
    pixels_HWC = torch.zeros(40, 40, 3, dtype=torch.uint8)
    pixels_HWC[10:30] = 255
    x_CHW = fit_frame(pixels_HWC, (20, 40))
    assert x_CHW.shape == (3, 20, 40)
    assert x_CHW.min() == normalise_pixels(torch.tensor(1.0))


def test_colours_keep_their_order_and_a_frame_of_the_size_its_pixels():
    pixels_HWC = torch.randint(0, 256, (16, 16, 3), dtype=torch.uint8)
    expected = normalise_pixels(pixels_HWC.permute(2, 0, 1) / 255)
    torch.testing.assert_close(fit_frame(pixels_HWC, (16, 16)), expected)
