import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.testing import data_path
from scans import AFFINES, CT, SIZE, blobs, dice, needs_ct, noise, oriented, write

from lean3d.data import load_volume, save_mask
from lean3d.data.mask import save_probabilities
from lean3d.errors import DataError, ShapeError


@pytest.mark.parametrize("name", AFFINES)
def test_a_mask_comes_back_exactly_onto_the_voxels_it_was_drawn_on(name, tmp_path):
    drawn = blobs()
    image = write(tmp_path / "x.nii.gz", noise(), AFFINES[name])
    volume = load_volume(image, write(tmp_path / "y.nii.gz", drawn, AFFINES[name]))
    save_mask(tmp_path / "out.nii.gz", volume.label, volume, like=image)
    saved = nib.load(tmp_path / "out.nii.gz")
    assert (np.asarray(saved.dataobj) == drawn).all()
    assert (saved.affine == nib.load(image).affine).all()


@pytest.mark.parametrize("spacing_mm", [1.0, 2.0, (1.7, 1.0, 2.2)])
@pytest.mark.parametrize("name", ["SPL", "oblique LPI"])
def test_a_mask_comes_back_nearly_whole_from_another_spacing(name, spacing_mm, tmp_path):
    drawn = blobs()
    image = write(tmp_path / "x.nii.gz", noise(), AFFINES[name])
    labels = write(tmp_path / "y.nii.gz", drawn, AFFINES[name])
    volume = load_volume(image, labels, spacing_mm=spacing_mm)
    save_mask(tmp_path / "out.nii.gz", volume.label, volume, like=image)
    saved = np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj)
    assert saved.shape == drawn.shape
    for value in (1, 2):
        assert dice(saved == value, drawn == value) > 0.9


def test_probabilities_become_the_most_likely_class(tmp_path):
    image = write(tmp_path / "x.nii.gz", noise())
    volume = load_volume(image)
    scores = torch.randn(5, *volume.image.shape[1:], generator=torch.Generator().manual_seed(0))
    save_mask(tmp_path / "out.nii.gz", scores.bfloat16(), volume, like=image)
    saved = np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj)
    assert (scores.bfloat16().argmax(0).numpy() == saved.T).all()


@pytest.mark.parametrize("spacing_mm", [None, 2.0])
@pytest.mark.parametrize("name", AFFINES)
def test_probabilities_lie_on_the_voxels_of_the_mask(name, spacing_mm, tmp_path):
    image = write(tmp_path / "x.nii.gz", noise(), AFFINES[name])
    volume = load_volume(image, spacing_mm=spacing_mm)
    scores = torch.randn(3, *volume.image.shape[1:], generator=torch.Generator().manual_seed(0))
    scores = scores.softmax(0)
    save_mask(tmp_path / "mask.nii.gz", scores, volume, like=image)
    save_probabilities(tmp_path / "scores.nii.gz", scores, volume, like=image)
    mask, saved = nib.load(tmp_path / "mask.nii.gz"), nib.load(tmp_path / "scores.nii.gz")
    assert (saved.affine == mask.affine).all()
    assert saved.header.get_zooms() == (*mask.header.get_zooms(), 1)
    assert saved.header.get_xyzt_units() == mask.header.get_xyzt_units()
    assert (np.asarray(saved.dataobj).argmax(-1) == np.asarray(mask.dataobj)).all()


def test_resampled_probabilities_are_read_between_voxels_before_the_choice(tmp_path):
    image = write(tmp_path / "x.nii.gz", noise((4, 4, 8)), np.eye(4))
    volume = load_volume(image, spacing_mm=(2, 1, 1))
    # class 1 rises from 0 to 0.9 along D: on the fine grid the half lies at 0.9 z / 6 = 0.5
    rising = torch.linspace(0, 0.9, 4).view(4, 1, 1).expand(4, 4, 4)
    save_mask(tmp_path / "out.nii.gz", torch.stack([1 - rising, rising]), volume, like=image)
    saved = np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj)
    assert saved[0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("spacing_mm", [None, 2.0])
def test_a_mask_of_a_crop_lands_where_the_crop_was_taken(spacing_mm, tmp_path):
    drawn = blobs()
    image = write(tmp_path / "x.nii.gz", noise(), AFFINES["LPS"])
    labels = write(tmp_path / "y.nii.gz", drawn, AFFINES["LPS"])
    volume = load_volume(image, labels, spacing_mm=spacing_mm).crop(1, 4, 11).crop(0, 2, 12)
    save_mask(tmp_path / "out.nii.gz", torch.ones_like(volume.label), volume, like=image)
    saved = nib.load(tmp_path / "out.nii.gz")
    index = np.argwhere(np.ones(SIZE))
    places = np.linalg.inv(volume.affine) @ saved.affine @ np.c_[index, np.ones(len(index))].T
    ends = np.reshape(volume.image.shape[1:], (3, 1)) - 0.499
    inside = ((places[:3] >= -0.501) & (places[:3] <= ends)).all(0)
    assert (np.asarray(saved.dataobj).flatten() == inside).all()
    assert 0 < inside.sum() < inside.size


KEPT = ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")
KEPT += ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")
KEPT += ("xyzt_units", "descrip", "dim")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_saved_mask_keeps_the_header_of_its_image(kind, tmp_path):
    image = kind(noise(SIZE)[..., None], oriented("LPS", 12))
    image.set_qform(oriented("LPS", 9), code=1)
    image.set_sform(oriented("LPS", 12), code=4)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"scanner 7"
    image.header["cal_max"] = 400
    nib.save(image, tmp_path / "x.nii.gz")
    volume = load_volume(tmp_path / "x.nii.gz")
    mask = torch.ones(volume.image.shape[1:], dtype=torch.long)
    save_mask(tmp_path / "out.nii.gz", mask, volume, like=tmp_path / "x.nii.gz")
    before, after = nib.load(tmp_path / "x.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    assert type(after) is kind
    for field in KEPT:
        assert (before.header[field] == after.header[field]).all(), field
    assert after.get_data_dtype() == np.uint8
    assert (after.dataobj.slope, after.dataobj.inter, after.header["cal_max"]) == (1, 0, 0)


def test_the_scale_of_the_image_does_not_reach_the_mask(tmp_path):
    nib.save(nib.Nifti1Image(noise() * 700, np.eye(4), dtype=np.int16), tmp_path / "x.nii")
    assert nib.load(tmp_path / "x.nii").dataobj.slope != 1
    volume = load_volume(tmp_path / "x.nii")
    mask = np.full(volume.image.shape[1:], 3)
    save_mask(tmp_path / "out.nii", mask, volume, like=tmp_path / "x.nii")
    assert (np.asarray(nib.load(tmp_path / "out.nii").dataobj) == 3).all()


def a_scan(tmp_path):
    image = write(tmp_path / "x.nii.gz", noise())
    return image, load_volume(image)


BAD_MASKS = {
    r"whole class numbers .* got float32": lambda size: torch.rand(size),
    "from 0 to 256": lambda size: torch.full(size, 256).index_fill_(0, torch.tensor(0), 0),
    "from -1 to -1": lambda size: torch.full(size, -1),
    "finite probabilities": lambda size: torch.full((2, *size), float("nan")),
}


@pytest.mark.parametrize("sentence", BAD_MASKS)
def test_refuses_a_mask_that_uint8_cannot_hold(sentence, tmp_path):
    image, volume = a_scan(tmp_path)
    with pytest.raises(DataError, match=sentence):
        save_mask(tmp_path / "o.nii", BAD_MASKS[sentence](volume.image.shape[1:]), volume, image)
    assert os.listdir(tmp_path) == ["x.nii.gz"]


def test_refuses_a_mask_of_another_size(tmp_path):
    image, volume = a_scan(tmp_path)
    with pytest.raises(ShapeError, match=re.escape("(17, 26, 21) as volume x has, got (1, 2, 3)")):
        save_mask(tmp_path / "o.nii", torch.zeros(1, 2, 3, dtype=torch.long), volume, image)


def test_refuses_an_image_the_volume_does_not_come_from(tmp_path):
    _, volume = a_scan(tmp_path)
    other = write(tmp_path / "z.nii.gz", noise(), oriented("RAS", 30))
    mask = torch.zeros(volume.image.shape[1:], dtype=torch.long)
    with pytest.raises(DataError, match="volume x lies at an angle to"):
        save_mask(tmp_path / "o.nii.gz", mask, volume, like=other)


def test_refuses_another_ending(tmp_path):
    image, volume = a_scan(tmp_path)
    with pytest.raises(DataError, match="change the ending"):
        save_mask(tmp_path / "o.png", torch.zeros(volume.image.shape[1:]), volume, like=image)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_full_disk_leaves_the_old_mask_and_nothing_else(ending, tmp_path):
    resource = pytest.importorskip("resource")
    image, volume = a_scan(tmp_path)
    out = tmp_path / f"out{ending}"
    out.write_bytes(b"the old mask")
    mask = torch.randint(0, 255, volume.image.shape[1:])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # the system's own refusal to write a file beyond a size, as a full disk refuses
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DataError, match=f"cannot write .*out{re.escape(ending)}"):
            save_mask(out, mask, volume, like=image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == b"the old mask"
    assert sorted(os.listdir(tmp_path)) == sorted([out.name, "x.nii.gz"])


def test_a_mask_may_replace_the_image_it_came_from(tmp_path):
    image, volume = a_scan(tmp_path)
    mask = torch.ones(volume.image.shape[1:], dtype=torch.bool)
    save_mask(image, mask, volume, like=image)
    assert (np.asarray(nib.load(image).dataobj) == 1).all()


def test_a_real_head_goes_through_another_spacing_and_back(tmp_path):
    image = Path(data_path) / "anatomical.nii"
    volume = load_volume(image, spacing_mm=2)
    bright = volume.image[0] > volume.image.mean()
    save_mask(tmp_path / "out.nii.gz", bright, volume, like=image)
    saved, file = nib.load(tmp_path / "out.nii.gz"), nib.load(image)
    assert saved.shape == file.shape
    truth = file.get_fdata() > volume.image.mean().item()
    assert dice(np.asarray(saved.dataobj) == 1, truth) > 0.9


@needs_ct
def test_the_mask_of_a_real_ct_is_written_back_bit_for_bit(tmp_path):
    image, labels = CT / "example_ct_sm.nii.gz", CT / "example_ct_sm_T300_output.nii.gz"
    volume = load_volume(image, labels)
    save_mask(tmp_path / "out.nii.gz", volume.label, volume, like=image)
    saved, file = nib.load(tmp_path / "out.nii.gz"), nib.load(image)
    assert (np.asarray(saved.dataobj) == np.asarray(nib.load(labels).dataobj)).all()
    for field in KEPT:
        assert (saved.header[field] == file.header[field]).all(), field
