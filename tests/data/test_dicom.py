import logging

import nibabel as nib
import numpy as np
import pytest
from dicoms import HU, write_series, write_slice

from lean3d.data import is_ct, load_folder, load_volume, save_mask
from lean3d.data.formats.registry import is_scan
from lean3d.errors import DataError

STORED = (HU.astype(int) + 1024) // 2 * 2 - 1024


def test_a_series_is_a_volume_in_hu_at_its_place_in_the_body(tmp_path):
    volume = load_volume(write_series(tmp_path / "ct"))
    assert volume.spacing == pytest.approx((2, 0.7, 0.5))
    assert volume.modality == "CT"
    # rows run to posterior and columns to left: ours to anterior and right
    assert (volume.image[0].numpy() == STORED[:, ::-1, ::-1]).all()
    # the last row and column, in RAS+ mm
    np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], [3 - 11 * 0.5, -4 - 9 * 0.7, 5, 1])


@pytest.mark.parametrize(
    ("axes", "step"),
    [((0, 1.0, 0, 0, 0, -1), (2.0, 0, 0)), ((1.0, 0, 0, 0, 0, -1), (0, 2.0, 0))],
    ids=["sagittal", "coronal"],
)
def test_series_of_any_direction_are_turned(tmp_path, axes, step):
    volume = load_volume(write_series(tmp_path / "ct", axes=axes, step=step))
    for corner in ((0, 0, 0), (1, 2, 3)):
        d, h, w = np.array(corner)
        place = volume.affine @ [d, h, w, 1]
        left, posterior = -place[0], -place[1]
        # invert by hand: position = (-3, 4, 5) + column * row direction + row * column direction
        offset = np.array([left, posterior, place[2]]) - [-3, 4, 5]
        along = np.array(axes).reshape(2, 3)
        column, row = offset @ along[0] / 0.5, offset @ along[1] / 0.7
        number = offset @ np.array(step) / 4
        stored = STORED[round(number), round(row), round(column)]
        assert volume.image[0, d, h, w] == stored


def test_several_series_are_listed_and_one_can_be_named(tmp_path):
    for number, about in ((1, "thin lung"), (2, "thick soft")):
        uid = f"1.2.{number}"
        settings = dict(SeriesDescription=about, SeriesNumber=number)
        write_series(tmp_path / "study", HU - number, uid=uid, about=settings)
    listed = r"holds 2 series: 1 'thin lung' \(CT, 6 images\), 2 'thick soft' .*study:1"
    with pytest.raises(DataError, match=listed):
        load_volume(tmp_path / "study")
    first, second = (load_volume(f"{tmp_path}/study:{number}") for number in (1, 2))
    assert (first.image != second.image).any()
    assert (load_volume(f"{tmp_path}/study:1.2.2").image == second.image).all()
    with pytest.raises(DataError, match="has no series 3"):
        load_volume(f"{tmp_path}/study:3")


def test_missing_and_double_slices_are_named(tmp_path):
    with pytest.raises(DataError, match=r"slices are missing.*4 mm between IM007 and IM010"):
        load_volume(write_series(tmp_path / "gap", keep=[0, 1, 3, 4, 5]))
    folder = write_series(tmp_path / "double")
    write_slice(folder / "again", HU[2], (-3, 4, 9))
    with pytest.raises(DataError, match=r"again lie in one place, at 9\.0 mm"):
        load_volume(folder)


def test_other_orientations_and_sizes_are_named(tmp_path):
    folder = write_series(tmp_path / "mixed")
    write_slice(folder / "scout", HU[0], (0, 0, 0), axes=(1.0, 0, 0, 0, 0, -1))
    with pytest.raises(DataError, match=r"scout.* differ in orientation .* localisers"):
        load_volume(folder)
    folder = write_series(tmp_path / "sizes")
    write_slice(folder / "small", HU[0, :5], (0, 0, 99))
    with pytest.raises(DataError, match=r"small has 5 x 12 pixels|10 x 12 pixels and small 5 x 12"):
        load_volume(folder)


def test_a_tilted_gantry_is_said_and_its_place_is_kept(tmp_path, caplog):
    lean = 2 * np.tan(np.radians(12))
    with caplog.at_level(logging.WARNING, "lean3d"):
        volume = load_volume(write_series(tmp_path / "ct", step=(0, lean, 2.0)))
    assert "tilted by 12.0 degrees" in caplog.text
    first, last = (volume.affine @ [d, 0, 0, 1] for d in (0, 5))
    np.testing.assert_allclose(last - first, [0, -5 * lean, 10, 0], atol=1e-9)
    assert volume.spacing == pytest.approx((2.0, 0.7, 0.5))  # of voxels of 0.7 mm3


def test_a_damaged_or_lone_slice_is_refused_by_name(tmp_path):
    folder = write_series(tmp_path / "one", keep=[0])
    with pytest.raises(DataError, match="holds one slice"):
        load_volume(folder)
    folder = write_series(tmp_path / "cut")
    path = folder / "IM007"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="IM007 cannot be read"):
        load_volume(folder)
    # the last slice, without which the series is shorter; a file of another kind is no slice
    for content in (b"", b"no DICOM" * 99):
        folder = write_series(tmp_path / f"damaged{len(content)}")
        (folder / "README.txt").write_text("how it was scanned")
        (folder / "IM002").write_bytes(content)
        with pytest.raises(DataError, match=r"IM002 is no DICOM file .* damaged"):
            load_volume(folder)
        (folder / "IM002").unlink()
        assert load_volume(folder).image.shape[1] == 5


def test_series_are_cases_of_a_folder_and_masks_land_on_them(tmp_path):
    for case in "ab":
        folder = write_series(tmp_path / "images" / case)
        assert is_scan(folder)
        volume = load_volume(folder)
        (tmp_path / "labels").mkdir(exist_ok=True)
        mask = tmp_path / "labels" / f"{case}.nii.gz"
        save_mask(mask, volume.image[0] > 0, volume, folder)
        assert nib.load(mask).shape == (12, 10, 6)
    volumes = load_folder(tmp_path, num_classes=2)
    assert [v.name for v in volumes] == ["a", "b"]
    assert (volumes[0].label == (volumes[0].image[0] > 0)).all()
    assert is_ct(volumes[0].image[0], volumes[0].modality)


def test_a_folder_of_texts_is_no_scan(tmp_path):
    (tmp_path / "notes.txt").write_text("x" * 200)
    assert not is_scan(tmp_path)
