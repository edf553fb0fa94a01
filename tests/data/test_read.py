import gzip
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.testing import data_path

from lean3d.data.formats.nifti import open_nifti
from lean3d.data.read import read_image, read_label
from lean3d.errors import DataError

SHIPPED = Path(data_path)


def write(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def noise(*size, dtype=np.float32):
    return (np.random.default_rng(0).standard_normal(size) * 100).astype(dtype)


def with_value(value):
    array = noise(4, 5, 6)
    array[1, 2, 3] = value
    return array


@pytest.mark.parametrize("name", ["anatomical.nii", "reoriented_anat_moved.nii"])
def test_a_real_scan_lands_where_its_own_affine_says(name):
    (x_DHW,), grid = read_image(SHIPPED / name)
    file = nib.load(SHIPPED / name)
    data, back = file.get_fdata(dtype=np.float32), np.linalg.inv(file.affine)
    for index in np.random.default_rng(0).integers(0, x_DHW.shape, (20, 3)):
        stored = np.rint(back @ grid.affine @ [*index, 1])[:3].astype(int)
        assert x_DHW[tuple(index)] == data[tuple(stored)]


def test_axes_point_superior_anterior_right():
    grid = open_nifti(SHIPPED / "anatomical.nii").grid
    assert nib.aff2axcodes(grid.affine[:, [2, 1, 0, 3]]) == ("R", "A", "S")


def test_a_trailing_axis_of_one_is_no_fourth_axis(tmp_path):
    array = noise(4, 5, 6)
    (x_DHW,), _ = read_image(write(tmp_path / "x.nii.gz", array[..., None]))
    assert (x_DHW == array.T).all()


def test_scale_and_offset_of_the_header_are_applied(tmp_path):
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = write(tmp_path / "x.nii", stored)
    image = nib.load(path, mmap=False)
    image.header["scl_slope"], image.header["scl_inter"] = 2, -1000
    image.header["vox_offset"] = 352
    path.write_bytes(image.header.binaryblock + path.read_bytes()[348:])
    assert (read_image(path)[0][0] == 2 * stored.T - 1000).all()


def test_a_big_endian_file_reads_the_same(tmp_path):
    array = noise(4, 5, 6)
    image = nib.Nifti1Image(array, np.eye(4), nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "x.nii.gz")
    (x_DHW,), _ = read_image(tmp_path / "x.nii.gz")
    assert (x_DHW == array.T).all()
    assert x_DHW.dtype.isnative


def test_what_was_read_does_not_change_with_the_file(tmp_path):
    path = write(tmp_path / "x.nii", noise(4, 5, 6))
    (x_DHW,), _ = read_image(path)
    before = x_DHW.copy()
    path.write_bytes(bytes(path.stat().st_size))
    assert (x_DHW == before).all()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_file_cut_short_anywhere_is_refused_by_name(ending, tmp_path):
    whole = write(tmp_path / f"whole{ending}", noise(6, 7, 8, dtype=np.int16)).read_bytes()
    path = tmp_path / f"scan{ending}"
    for length in [*range(0, len(whole), 29), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"scan{re.escape(ending)}.*copy or export it again"):
            read_image(path)


def test_a_byte_damaged_in_a_compressed_file_is_noticed(tmp_path):
    path = write(tmp_path / "x.nii.gz", noise(6, 7, 8))
    # stored, not packed: the stream stays valid, the checksum alone can tell
    whole = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0))
    whole[-200] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"x\.nii\.gz cannot be read.*CRC"):
        read_image(path)


def test_a_damaged_header_never_fails_in_any_other_way(tmp_path):
    path = write(tmp_path / "x.nii", noise(4, 5, 6))
    whole = path.read_bytes()
    refused = 0
    for place in range(348):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_image(path)
        except DataError:
            refused += 1
    assert refused > 10


BAD_IMAGES = {
    "NaN or infinity in 1 of 120 voxels": with_value(np.nan),
    "NaN or infinity in 1 of 120": with_value(np.inf),
    "NaN or infinity in 120 of 120": np.full((4, 5, 6), np.nan, np.float32),
    "every voxel of .* is 3: the scan is empty": np.full((4, 5, 6), 3, np.int16),
    r"has 5 axes \(4 x 5 x 6 x 2 x 3\), not 3": noise(4, 5, 6, 2, 3),
    r"has 2 axes \(4 x 5\), not 3": noise(4, 5),
    "holds complex64 voxels": noise(4, 5, 6).astype(np.complex64),
    "not single real numbers": np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]),
}


@pytest.mark.parametrize("sentence", BAD_IMAGES)
def test_refuses_an_image_and_says_why(sentence, tmp_path):
    path = write(tmp_path / "scan.nii.gz", BAD_IMAGES[sentence])
    with pytest.raises(DataError, match=sentence) as refusal:
        read_image(path)
    assert str(path) in str(refusal.value)


def test_a_fourth_axis_is_the_channels():
    x_CDHW, grid = read_image(SHIPPED / "example4d.nii.gz")
    stored = nib.load(SHIPPED / "example4d.nii.gz")
    assert x_CDHW.shape == (2, *grid.shape)
    first = nib.as_closest_canonical(stored.slicer[..., 1]).get_fdata(dtype=np.float32)
    assert (x_CDHW[1] == first.T).all()


def test_refuses_an_affine_that_flattens_the_voxels(tmp_path):
    path = write(tmp_path / "scan.nii", noise(4, 5, 6))
    image = nib.load(path)
    image.header["srow_z"] = image.header["srow_x"]
    image.header["sform_code"] = 1
    with path.open("rb+") as file:
        file.write(image.header.binaryblock)
    with pytest.raises(DataError, match=r"the affine of .*scan\.nii"):
        read_image(path)


def test_other_formats_of_nibabel_are_read_too(tmp_path):
    array = noise(4, 5, 6)
    nib.save(nib.MGHImage(array, np.eye(4)), tmp_path / "scan.mgz")
    assert (read_image(tmp_path / "scan.mgz")[0] == array.T).all()
    nib.save(nib.Nifti1Pair(array, np.eye(4)), tmp_path / "scan.hdr")
    assert (read_image(tmp_path / "scan.img")[0] == array.T).all()


def test_refuses_other_formats(tmp_path):
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7" + bytes(600))
    with pytest.raises(DataError, match="is of no format that is read"):
        read_image(tmp_path / "scan.pdf")


def test_refuses_a_text_file_in_disguise(tmp_path):
    (tmp_path / "scan.nii.gz").write_text("not a scan")
    with pytest.raises(DataError, match="cannot be read as NIfTI"):
        read_image(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("name", ["nowhere.nii.gz", "nowhere"])
def test_names_a_file_that_is_not_there(name, tmp_path):
    with pytest.raises(DataError, match="does not exist or is not a file"):
        read_image(tmp_path / name)


def test_labels_saved_as_floats_are_still_class_numbers(tmp_path):
    array = np.random.default_rng(0).integers(0, 4, (4, 5, 6))
    label, _ = read_label(write(tmp_path / "y.nii.gz", array.astype(np.float64)), num_classes=4)
    assert label.dtype == np.int64
    assert (label == array.T).all()


BAD_LABELS = {
    "holds the labels 0, 1, 255 where 0 to 1 are expected": [0, 1, 255],
    "holds the labels 0, 254 where 0 to 1": [0, 254],
    "holds the labels -1, 0 where 0 to 1": [-1, 0],
    "holds the value 0.5, which is no class number": [0, 0.5, 1],
    "holds the value 0.999, which is no class number": [0, 0.999, 1],
    "holds the value nan, which is no class number": [0, np.nan, 1],
    r"the labels 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, \.\.\. where": range(40),
}


@pytest.mark.parametrize("sentence", BAD_LABELS)
def test_refuses_a_label_and_says_why(sentence, tmp_path):
    values = np.resize(np.array(BAD_LABELS[sentence]), (4, 5, 6)).astype(np.float32)
    with pytest.raises(DataError, match=sentence):
        read_label(write(tmp_path / "y.nii.gz", values), num_classes=2)


def test_without_a_number_of_classes_only_negative_labels_are_refused(tmp_path):
    array = np.resize(np.array([0, 300], dtype=np.int16), (4, 5, 6))
    assert read_label(write(tmp_path / "y.nii.gz", array))[0].max() == 300
    with pytest.raises(DataError, match="where 0 and above are expected"):
        read_label(write(tmp_path / "y.nii.gz", -array))
