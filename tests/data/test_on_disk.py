import numpy as np
import pytest
import torch
from scans import noise, oriented, write

from lean3d.data import load_volume, normalise, on_disk, window
from lean3d.data.on_disk import bytes_of, load_on_disk
from lean3d.errors import DataError


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch):
    """Slabs of a few planes."""
    monkeypatch.setattr(on_disk, "SLAB", 9000)


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("axes", ["RAS", "PIR", "LPI"])
@pytest.mark.parametrize("spacing_mm", [None, (2.0, 1.3, 1.5), (3.1, 0.7, 0.9)])
def test_a_scan_on_disk_is_that_in_memory(tmp_path, ending, axes, spacing_mm):
    path = write(tmp_path / f"x.{ending}", noise() + 5, oriented(axes))
    expected = normalise(load_volume(path, spacing_mm=spacing_mm))
    volume = load_on_disk(path, tmp_path, spacing_mm)
    torch.testing.assert_close(volume.image, expected.image, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(volume.affine, expected.affine)
    assert (volume.name, volume.placed) == (expected.name, expected.placed)


def test_channels_and_scales_are_those_of_a_run(tmp_path):
    one = write(tmp_path / "a.nii", np.stack([noise(), noise() + 9], -1) * 40)
    two = write(tmp_path / "b.nii", noise() * 10 - 3)
    paths, scales = (one, two), [window(-50, 50), None, window(0, 9)]
    expected = normalise(load_volume(paths), scales)
    volume = load_on_disk(paths, tmp_path, None, scales)
    torch.testing.assert_close(volume.image, expected.image, atol=1e-4, rtol=1e-4)
    assert bytes_of(paths) == 4 * expected.image.numel()


def test_a_constant_background_does_not_count(tmp_path):
    array = np.zeros((12, 12, 12), np.float32)
    array[2:9, 2:9, 2:9] = 100 + noise((7, 7, 7))
    path = write(tmp_path / "x.nii", array)
    expected = normalise(load_volume(path))
    torch.testing.assert_close(
        load_on_disk(path, tmp_path).image, expected.image, atol=1e-3, rtol=1e-4
    )


def test_refuses_what_the_whole_would(tmp_path):
    array = noise()
    array[3, 4, 5] = np.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        load_on_disk(write(tmp_path / "x.nii", array), tmp_path)
    paths = write(tmp_path / "a.nii", noise()), write(tmp_path / "b.nii", noise()[1:])
    with pytest.raises(DataError, match=r"channel .*b\.nii has 20 x"):
        load_on_disk(paths, tmp_path)
