import highdicom
import numpy as np
import pytest
from dicoms import HU, write_series

from lean3d.data import load_volume, save_mask
from lean3d.errors import DataError


@pytest.mark.parametrize("step", [(0, 0, 2.0), (0, 0, -2.0)])
def test_every_class_is_a_segment_on_the_images_of_the_series(tmp_path, step):
    folder = write_series(tmp_path / "ct", step=step)
    volume = load_volume(folder)
    # no voxel is of class 2, and the numbers of segments are those of classes all the same
    mask = (volume.image[0] > 0).long() + 2 * (volume.image[0] > 500).long()
    save_mask(tmp_path / "m.dcm", mask, volume, folder, names=("background", "soft", "x", "bone"))
    seg = highdicom.seg.segread(tmp_path / "m.dcm")
    labels = [seg.get_segment_description(n).segment_label for n in seg.segment_numbers]
    assert labels == ["soft", "x", "bone"]
    sources = [uid for _, _, uid in seg.get_source_image_uids()]
    found = seg.get_pixels_by_source_instance(sources, combine_segments=True)
    # the images of the file, in the order of its list: each by its place in the series
    import pydicom

    headers = {str(h.SOPInstanceUID): h for h in map(pydicom.dcmread, folder.glob("*"))}
    for uid, page in zip(sources, found, strict=True):
        number = round((headers[uid].ImagePositionPatient[2] - 5) / step[2])
        hu = (HU[number].astype(int) + 1024) // 2 * 2 - 1024
        assert (page == np.where(hu > 500, 3, np.where(hu > 0, 1, 0))).all()


def test_a_mask_of_another_scan_is_refused(tmp_path):
    volume = load_volume(write_series(tmp_path / "ct"))
    np.save(tmp_path / "x.npy", volume.image[0].numpy())
    scan = load_volume(tmp_path / "x.npy")
    mask = np.ones(volume.image.shape[1:], np.uint8)
    with pytest.raises(
        DataError, match=r"needs the DICOM series .*x\.npy is none; write \.nii\.gz$"
    ):
        save_mask(tmp_path / "m.dcm", mask, scan, tmp_path / "x.npy")
    assert not (tmp_path / "m.dcm").exists()


def test_an_empty_mask_is_an_empty_segment(tmp_path):
    folder = write_series(tmp_path / "ct")
    volume = load_volume(folder)
    nothing = np.zeros(volume.image.shape[1:], np.uint8)
    save_mask(tmp_path / "m.dcm", nothing, volume, folder, names=("background", "lesion"))
    seg = highdicom.seg.segread(tmp_path / "m.dcm")
    assert seg.get_segment_description(1).segment_label == "lesion"
    assert seg.pixel_array.size >= nothing.size
    assert not seg.pixel_array.any()
