import numpy as np
import pytest
import torch
from scans import CT, SIZE, SPACING, blobs, dice, needs_ct, noise, oriented, write

from lean3d.data import load_folder, load_volume, save_mask
from lean3d.errors import DataError


def test_every_voxel_keeps_its_place_in_the_body_when_resampled(tmp_path):
    affine = oriented("PIR", 10)
    ramp = np.einsum("ij,jabc->iabc", affine[:3, :3], np.indices(SIZE).astype(float))
    ramp = (ramp + affine[:3, 3].reshape(3, 1, 1, 1)).astype(np.float32)
    paths = [write(tmp_path / f"{c}.nii", ramp[i], affine) for i, c in enumerate("xyz")]
    volume = load_volume(paths, spacing_mm=(2, 1, 1.5))
    # away from the edges, where reading on would need voxels that do not exist
    inner = np.array(volume.image.shape[1:]) - 3
    for d, h, w in np.random.default_rng(0).integers(3, inner, (9, 3)):
        place = volume.affine @ [d, h, w, 1]
        np.testing.assert_allclose(volume.image[:, d, h, w], place[:3], atol=1e-3)


def test_resampled_volumes_have_the_spacing_asked_for_and_cover_the_scan(tmp_path):
    volume = load_volume(write(tmp_path / "x.nii.gz", noise()), spacing_mm=(2, 1.5, 1))
    np.testing.assert_allclose(volume.spacing, (2, 1.5, 1))
    covered = np.array(volume.image.shape[1:]) * volume.spacing
    extent = np.array(SIZE[::-1]) * SPACING[::-1]
    assert (covered > extent - 1e-6).all()
    assert (covered < extent + volume.spacing).all()


def test_resampling_keeps_the_outer_corner_of_the_first_voxel(tmp_path):
    image = write(tmp_path / "x.nii.gz", noise(), oriented("LPI", 10))
    corners = [
        load_volume(image, spacing_mm=spacing_mm).affine @ [-0.5, -0.5, -0.5, 1]
        for spacing_mm in (None, 3.0)
    ]
    np.testing.assert_allclose(*corners)


def test_a_spacing_the_scan_already_has_changes_nothing(tmp_path):
    image = write(tmp_path / "x.nii.gz", noise())
    volume = load_volume(image, spacing_mm=[s * 1.0004 for s in SPACING[::-1]])
    assert torch.equal(volume.image, load_volume(image).image)
    np.testing.assert_allclose(volume.spacing, SPACING[::-1], rtol=1e-5)


@pytest.mark.parametrize("spacing_mm", [np.float32(2), np.full(3, 2), (np.int64(2),)])
def test_takes_a_spacing_of_numpy(spacing_mm, tmp_path):
    volume = load_volume(write(tmp_path / "x.nii.gz", noise()), spacing_mm=spacing_mm)
    np.testing.assert_allclose(volume.spacing, (2, 2, 2))


@pytest.mark.parametrize("spacing_mm", [0, -1, (1, 2), (1, 1, float("nan")), "2", ()])
def test_refuses_a_spacing_that_is_none(spacing_mm, tmp_path):
    with pytest.raises(DataError, match=r"spacing_mm takes .* got"):
        load_volume(write(tmp_path / "x.nii.gz", noise()), spacing_mm=spacing_mm)


def test_labels_stored_the_other_way_round_are_turned_to_their_image(tmp_path):
    image = write(tmp_path / "x.nii.gz", noise(), np.eye(4))
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = SIZE[0] - 1
    labels = write(tmp_path / "y.nii.gz", blobs()[::-1], flipped)
    assert (load_volume(image, labels).label.numpy() == blobs().T).all()


def test_refuses_a_label_of_another_shape(tmp_path):
    image = write(tmp_path / "x.nii.gz", noise())
    labels = write(tmp_path / "y.nii.gz", blobs((21, 26, 16)))
    with pytest.raises(DataError, match=r"y\.nii\.gz has 21 x 26 x 16 voxels.*21 x 26 x 17"):
        load_volume(image, labels)


def test_refuses_a_label_that_lies_elsewhere(tmp_path):
    affine = oriented("RAS")
    affine[0, 3] += 5
    labels = write(tmp_path / "y.nii.gz", blobs(), affine)
    with pytest.raises(DataError, match=r"y\.nii\.gz places it up to 5\.6 voxels away"):
        load_volume(write(tmp_path / "x.nii.gz", noise()), labels)


def test_a_label_whose_header_was_rounded_is_taken(tmp_path):
    affine = oriented("RAS", 5) + 1e-4
    affine[3] = 0, 0, 0, 1
    image = write(tmp_path / "x.nii.gz", noise(), oriented("RAS", 5))
    load_volume(image, write(tmp_path / "y.nii.gz", blobs(), affine))


@pytest.mark.parametrize("ending", [".tif", ".zarr", ".npy"])
def test_a_stack_of_labels_is_taken_by_its_size_and_spacing(tmp_path, ending):
    image = write(tmp_path / "x.nii.gz", noise(), oriented("LPS", 17))
    volume, mask = load_volume(image), tmp_path / f"m{ending}"
    save_mask(mask, blobs().T, volume, image)
    assert (load_volume(image, mask).label.numpy() == blobs().T).all()
    # and labels of a scan that is a stack
    np.save(tmp_path / "x.npy", volume.image[0])
    save_mask(tmp_path / "y.nii.gz", blobs().T, volume, image)
    again = load_volume(tmp_path / "x.npy", tmp_path / "y.nii.gz")
    assert (again.label.numpy() == blobs().T).all()
    other = write(tmp_path / "z.nii.gz", noise(), np.diag([1, 1, 1, 1]))
    if ending != ".npy":
        with pytest.raises(DataError, match=r"header of label .* places it up to"):
            load_volume(other, mask)


def test_refuses_no_image():
    with pytest.raises(DataError, match="one for each channel, got none"):
        load_volume([])


def test_refuses_labels_outside_the_classes(tmp_path):
    labels = write(tmp_path / "y.nii.gz", blobs())
    with pytest.raises(DataError, match="0, 1, 2 where 0 to 1 are expected"):
        load_volume(write(tmp_path / "x.nii.gz", noise()), labels, num_classes=2)


def test_refuses_channels_of_different_scans(tmp_path):
    paths = [write(tmp_path / "a.nii.gz", noise()), write(tmp_path / "b.nii.gz", noise()[1:])]
    with pytest.raises(DataError, match=r"channel .*b\.nii\.gz has 20 x"):
        load_volume(paths)


def test_a_folder_is_read_case_by_case_with_its_channels(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    for case in "ba":
        for channel in range(2):
            path = tmp_path / "imagesTr" / f"{case}_000{channel}.nii.gz"
            write(path, noise() + 10 * channel)
        write(tmp_path / "labelsTr" / f"{case}.nii.gz", blobs())
    volumes = load_folder(tmp_path, num_classes=3, spacing_mm=2.5)
    assert [volume.name for volume in volumes] == ["a", "b"]
    assert volumes[0].spacing == pytest.approx((2.5,) * 3)
    assert volumes[0].image.mean((1, 2, 3)).round().tolist() == [0, 10]


@needs_ct
def test_the_body_mask_of_a_real_ct_holds_its_body_and_all_its_bone():
    names = "example_ct_sm.nii.gz", "example_ct_sm_T300_output.nii.gz"
    volume = load_volume(CT / names[0], CT / names[1], num_classes=2)
    assert volume.image.shape == (1, 30, 101, 122)
    assert volume.spacing == pytest.approx((3, 3, 3), abs=1e-3)
    assert dice(volume.image[0] > -300, volume.label == 1) > 0.95
    assert (volume.label[volume.image[0] > 300] == 1).all()
