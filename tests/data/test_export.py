import os

import numpy as np
import pytest
import torch

from lean3d.data import Volume, load_volume, save_image
from lean3d.errors import DataError


def volume(channels=1):
    affine = np.array([[0, 0, 2.0, -9], [0, 3.0, 0, 5], [4.0, 0, 0, 7], [0, 0, 0, 1]])
    return Volume(torch.randn(channels, 4, 5, 6), None, affine, "v")


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_what_is_written_is_read_back_in_its_place(tmp_path, name):
    written = volume()
    save_image(tmp_path / name, written)
    back = load_volume(tmp_path / name)
    torch.testing.assert_close(back.image, written.image)
    np.testing.assert_allclose(back.affine, written.affine)
    assert os.listdir(tmp_path) == [name]


def test_refuses_another_ending_and_several_channels(tmp_path):
    with pytest.raises(DataError, match=r"\.nii or \.nii\.gz, got"):
        save_image(tmp_path / "v.png", volume())
    with pytest.raises(DataError, match="v has 2 channels"):
        save_image(tmp_path / "v.nii", volume(2))
    assert os.listdir(tmp_path) == []
