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
    mask = (volume.image[0] > 0).long() + 2 * (volume.image[0] > 500).long()
    save_mask(tmp_path / "m.dcm", mask, volume, folder, names=("background", "soft", "x", "bone"))
    seg = highdicom.seg.segread(tmp_path / "m.dcm")
    labels = [seg.get_segment_description(n).segment_label for n in seg.segment_numbers]
    assert labels == ["soft", "bone"]
    sources = [uid for _, _, uid in seg.get_source_image_uids()]
    found = seg.get_pixels_by_source_instance(sources, combine_segments=True)
    # the images of the file, in the order of its list: each by its place in the series
    import pydicom

    headers = {str(h.SOPInstanceUID): h for h in map(pydicom.dcmread, folder.glob("*"))}
    for uid, page in zip(sources, found, strict=True):
        number = round((headers[uid].ImagePositionPatient[2] - 5) / step[2])
        hu = (HU[number].astype(int) + 1024) // 2 * 2 - 1024
        assert (page == np.where(hu > 500, 2, np.where(hu > 0, 1, 0))).all()


def test_a_mask_of_another_scan_or_of_nothing_is_refused(tmp_path):
    folder = write_series(tmp_path / "ct")
    volume = load_volume(folder)
    nothing = np.zeros(volume.image.shape[1:], np.uint8)
    with pytest.raises(DataError, match=r"no voxel of .* has a class"):
        save_mask(tmp_path / "m.dcm", nothing, volume, folder)
    np.save(tmp_path / "x.npy", volume.image[0].numpy())
    scan = load_volume(tmp_path / "x.npy")
    with pytest.raises(DataError, match="needs the DICOM series"):
        save_mask(tmp_path / "m.dcm", nothing + 1, scan, tmp_path / "x.npy")
    assert not (tmp_path / "m.dcm").exists()
