import numpy as np
import pytest
import torch

from lean3d.data import Scale, Volume, normalise, window
from lean3d.data.intensity import HOUNSFIELD, foreground_scale, is_ct
from lean3d.errors import DataError


def a_volume(channels=1, size=(4, 5, 6)):
    image = torch.randn(channels, *size, generator=torch.Generator().manual_seed(0))
    return Volume(image, (image[0] > 0).long(), np.eye(4), "scan")


def a_ct(whole_numbers=True):
    """A body of 40 HU with a bone of 700 in air."""
    x, y = np.mgrid[-16:16, -16:16]
    hu = np.where(x**2 + y**2 < 12**2, 40.0, -1000.0) + np.zeros((8, 1, 1))
    hu[:, 14:17, 14:20] = 700
    hu += np.random.default_rng(0).normal(0, 25, hu.shape)
    hu = np.round(hu) if whole_numbers else hu
    return Volume(torch.from_numpy(hu).float()[None], None, np.eye(4), "ct")


CROPS = {
    "with air": (slice(None), slice(None, 20), slice(4, 28)),
    "without air": (slice(2, 6), slice(10, 22), slice(10, 22)),
}


@pytest.mark.parametrize("crop", CROPS)
def test_a_ct_and_a_crop_of_it_have_the_same_values(crop):
    whole = a_ct()
    place = (slice(None), *CROPS[crop])
    part = Volume(whole.image[place], None, np.eye(4), "part")
    assert torch.equal(normalise(part).image, normalise(whole).image[place])
    assert normalise(whole).image[0, 3, 3, 3] < -1.9


def test_a_ct_resampled_to_fractions_is_still_one():
    assert torch.equal(normalise(a_ct(False)).image, HOUNSFIELD(a_ct(False).image))


OTHERS = {
    "mr": torch.arange(64.0),
    "standardised": torch.linspace(-9, 9, 64),
    "a phase from -4096 to 4095": torch.arange(-4096.0, 4096, 128),
    "a probability": torch.linspace(0, 1, 64),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_scans_are_no_ct(kind):
    assert not is_ct(OTHERS[kind].reshape(4, 4, 4))


def test_what_the_file_says_goes_before_its_values():
    assert is_ct(torch.ones(2, 2, 2), "CT")
    assert not is_ct(a_ct().image[0], "MR")


def test_a_window_is_clipped_and_scaled_to_one():
    volume = a_ct()
    image = normalise(volume, [window(-200, 250)]).image
    assert (image.min(), image.max()) == (0, 1)
    torch.testing.assert_close(image[0, 4, 8, 16], (volume.image[0, 4, 8, 16] + 200) / 450)


def test_percentiles_mean_and_deviation_are_those_of_the_foreground():
    values = np.random.default_rng(0).normal(100, 20, 100_000)
    scale = foreground_scale(values)
    assert scale.mean == pytest.approx(100, abs=0.5)
    assert scale.deviation == pytest.approx(20, abs=0.5)
    assert (scale.low, scale.high) == pytest.approx((100 - 51.5, 100 + 51.5), abs=2)
    assert scale(torch.tensor([-1e6])).item() == pytest.approx(-51.5 / 20, abs=0.1)


def test_each_channel_has_its_own_scale():
    volume = a_volume(2)
    image = normalise(volume, [Scale(-9, 9, 1, 2), None]).image
    torch.testing.assert_close(image[0], (volume.image[0] - 1) / 2)
    torch.testing.assert_close(image[1].std(correction=0), torch.tensor(1.0))
    with pytest.raises(DataError, match="2 channels and 1 scales"):
        normalise(volume, [None])


@pytest.mark.parametrize("bad", [(250, -200), (0, 0), (float("nan"), 1)])
def test_refuses_a_window_that_is_none(bad):
    with pytest.raises(DataError, match="lower and an upper"):
        window(*bad)


def test_every_channel_is_normalised_by_itself():
    volume = a_volume(channels=2)
    volume.image[1] = volume.image[1] * 40 + 300
    image = normalise(volume).image
    torch.testing.assert_close(image.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(image.std((1, 2, 3), correction=0), torch.ones(2))
    assert (image.flatten(1).argmax(1) == volume.image.flatten(1).argmax(1)).all()


def test_a_constant_background_does_not_count():
    image = torch.full((1, 6, 6, 6), -300.0)
    inside = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(0)) * 50 + 40
    image[0, 1:5, 1:5, 1:5] = inside
    normal = normalise(Volume(image, None, np.eye(4), "scan")).image
    torch.testing.assert_close(
        normal[0, 1:5, 1:5, 1:5], (inside - inside.mean()) / inside.std(correction=0)
    )
    assert normal[0, 0, 0, 0] < normal[0, 1:5, 1:5, 1:5].min()


def test_a_scan_of_two_values_is_normalised_over_all_voxels():
    image = torch.zeros(1, 4, 4, 4)
    image[0, 1:3, 1:3, 1:3] = 0.7
    normal = normalise(Volume(image, None, np.eye(4), "scan")).image
    torch.testing.assert_close(normal.std(correction=0), torch.tensor(1.0))


@pytest.mark.parametrize("unit", [1e-36, 1e-30, 1e30, 3e37])
def test_values_whose_squares_are_beyond_float32_are_normalised(unit):
    values = torch.linspace(1, 9, 64).view(1, 4, 4, 4)
    plain, scaled = (Volume(x, None, np.eye(4), "scan") for x in (values, values * unit))
    torch.testing.assert_close(normalise(scaled).image, normalise(plain).image)


def test_a_constant_crop_becomes_zero():
    volume = Volume(torch.full((1, 3, 3, 3), 7.3), None, np.eye(4), "scan")
    assert not normalise(volume).image.any()


def test_normalising_leaves_the_rest_of_the_volume_alone():
    volume = a_volume()
    before = volume.image.clone()
    normal = normalise(volume)
    assert normal.label is volume.label
    assert normal.affine is volume.affine
    assert torch.equal(volume.image, before)
