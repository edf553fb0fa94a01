"""Labels as programs write them: scaled, as grey values, or with numbers of their own."""

import logging

import nibabel as nib
import numpy as np
import pytest
from scans import write

from lean3d.data.read import read_label
from lean3d.errors import DataError

CLASSES = np.random.default_rng(0).integers(0, 6, (12, 10, 8))


@pytest.mark.parametrize("stored", [np.uint8, np.int16, np.uint16, np.int32])
@pytest.mark.parametrize("offset", [0, 100])
def test_class_numbers_that_nibabel_scaled_are_whole_again(tmp_path, stored, offset):
    """What `get_fdata()`, work, `Nifti1Image(array, affine, header)` leaves in a file."""
    classes = CLASSES + offset
    image = nib.Nifti1Image(classes.astype(float), np.eye(4))
    image.set_data_dtype(stored)
    nib.save(image, tmp_path / "y.nii.gz")
    assert nib.load(tmp_path / "y.nii.gz").dataobj.slope < 1
    label_DHW, _ = read_label(tmp_path / "y.nii.gz", num_classes=6 + offset)
    assert (label_DHW == classes.T).all()


def scaled(path, stored, slope, inter=0.0):
    content = bytearray(nib.Nifti1Image(stored, np.eye(4)).to_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()
    path.write_bytes(content)
    return path


def test_a_value_farther_than_half_a_step_is_refused_by_name(tmp_path):
    stored = np.resize(np.uint8([0, 2, 5]), (4, 5, 6))
    with pytest.raises(DataError, match=r"holds the value 2\.5, which is no class number"):
        read_label(scaled(tmp_path / "y.nii", stored, 0.5))
    label_DHW, _ = read_label(scaled(tmp_path / "y.nii", stored * 2, 0.5))
    assert np.unique(label_DHW).tolist() == [0, 2, 5]


def test_a_scale_of_one_or_more_is_taken_as_it_is(tmp_path):
    stored = np.resize(np.uint8([0, 1]), (4, 5, 6))
    with pytest.raises(DataError, match=r"holds the value 0\.4"):
        read_label(scaled(tmp_path / "y.nii", stored, 1, 0.4))
    assert read_label(scaled(tmp_path / "y.nii", stored, 3, 1))[0].max() == 4


GREYS = {
    2: ([0, 255], [0, 1]),
    3: ([0, 127, 255], [0, 1, 2]),
    4: ([0, 85, 170, 255], [0, 1, 2, 3]),
    6: ([0, 255], [0, 5]),
}


@pytest.mark.parametrize("num_classes", GREYS)
def test_grey_values_are_classes_and_it_is_said(tmp_path, num_classes, caplog):
    greys, classes = GREYS[num_classes]
    path = write(tmp_path / "y.nii", np.resize(np.uint8(greys), (4, 5, 6)))
    with caplog.at_level(logging.WARNING, "lean3d"):
        label_DHW, _ = read_label(path, num_classes)
    assert np.unique(label_DHW).tolist() == classes
    assert f"255 as {num_classes - 1}" in caplog.text


def test_the_values_of_the_classes_can_be_given(tmp_path):
    path = write(tmp_path / "y.nii", np.resize(np.uint8([0, 1, 2, 4]), (4, 5, 6)))
    assert np.unique(read_label(path, values=(0, 1, 2, 4))[0]).tolist() == [0, 1, 2, 3]
    assert read_label(path, values=(4, 2, 1, 0))[0].flat[0] == 3
    with pytest.raises(DataError, match="the value 4, which is no class among 0, 1, 2"):
        read_label(path, values=(0, 1, 2))


def test_a_trailing_axis_of_one_is_no_channel_and_several_are_refused(tmp_path):
    label = np.uint8(CLASSES)
    assert (read_label(write(tmp_path / "y.nii", label[..., None, None]))[0] == label.T).all()
    with pytest.raises(DataError, match="has 2 channels, and labels are one class number"):
        read_label(write(tmp_path / "y.nii", np.stack([label, label], -1)))
