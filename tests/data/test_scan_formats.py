"""Scans of every format as files hold them: voxels, spacing, channels, and what is refused."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image
from scans import SIZE, blobs, noise, oriented, write

from lean3d.data import load_folder, load_volume, save_mask
from lean3d.data.formats.registry import is_scan, split, stem
from lean3d.data.read import open_scan
from lean3d.errors import DataError


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_nifti_is_read_by_its_contents_not_by_its_name(tmp_path, kind):
    content = kind(noise(), oriented("LPS")).to_bytes()
    (tmp_path / "packed.nii").write_bytes(gzip.compress(content))
    (tmp_path / "plain.nii.gz").write_bytes(content)
    (tmp_path / "nameless").write_bytes(content)
    (tmp_path / "right.nii").write_bytes(content)
    right = load_volume(tmp_path / "right.nii")
    for name in ("packed.nii", "plain.nii.gz", "nameless"):
        volume = load_volume(tmp_path / name)
        assert (volume.image == right.image).all()
        np.testing.assert_array_equal(volume.affine, right.affine)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 1e-3), ("meter", 1e3)])
def test_the_unit_of_the_header_is_honoured(tmp_path, unit, factor):
    image = nib.Nifti1Image(noise(), np.diag([0.5, 0.5, 2, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "x.nii.gz")
    volume = load_volume(tmp_path / "x.nii.gz")
    assert volume.spacing == pytest.approx((2 * factor, 0.5 * factor, 0.5 * factor))
    save_mask(tmp_path / "m.nii.gz", blobs().T, volume, tmp_path / "x.nii.gz")
    mask = nib.load(tmp_path / "m.nii.gz")
    assert mask.header.get_xyzt_units()[0] == unit
    np.testing.assert_allclose(mask.affine, image.affine)


@pytest.mark.parametrize("trail", [(2,), (1, 2), (2, 1), (2, 1, 1)])
def test_the_channels_of_one_file_are_turned_with_its_axes(tmp_path, trail):
    array, affine = np.stack([noise(), noise() + 9], -1), oriented("PIR")
    path = write(tmp_path / "x.nii.gz", array.reshape(*SIZE, *trail), affine)
    volume = load_volume(path)
    for channel in range(2):
        alone = load_volume(write(tmp_path / "one.nii.gz", array[..., channel], affine))
        assert (volume.image[channel] == alone.image[0]).all()
    save_mask(tmp_path / "m.nii.gz", volume.image[0] > 0, volume, path)
    assert nib.load(tmp_path / "m.nii.gz").shape == SIZE


def test_channels_come_from_one_file_several_or_both(tmp_path):
    two = write(tmp_path / "a.nii.gz", np.stack([noise(), noise() + 9], -1))
    one = write(tmp_path / "b.nii.gz", noise() + 20)
    assert load_volume([two, one]).image.mean((1, 2, 3)).round().tolist() == [0, 9, 20]


def test_planes_of_a_file_are_those_of_the_whole(tmp_path):
    from lean3d.data.read import open_scan

    for axes in ("RAS", "LPI", "SAR", "AIR"):
        path = write(tmp_path / "x.nii", noise(), oriented(axes))
        whole = load_volume(path).image.numpy()
        assert (open_scan(path).load(slice(3, 7)) == whole[:, 3:7]).all()


STACK = np.random.default_rng(0).integers(0, 255, (5, 16, 20), dtype=np.uint8)


def test_pages_rows_and_columns_are_depth_height_and_width(tmp_path):
    pages = [Image.fromarray(page) for page in STACK]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    volume = load_volume(tmp_path / "a.tif")
    assert (volume.image[0].numpy() == STACK).all()
    assert (volume.spacing, volume.placed) == ((1, 1, 1), False)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_pages_are_read(tmp_path, compression):
    pages = [Image.fromarray(page) for page in STACK]
    pages[0].save(
        tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression=compression
    )
    assert (load_volume(tmp_path / "a.tif").image[0].numpy() == STACK).all()


def imagej(path, array, unit="um", axes="ZYX"):
    about = {"spacing": 0.5, "unit": unit, "axes": axes}
    tifffile.imwrite(path, array, imagej=True, resolution=(10, 5), metadata=about)


def ome(path, array, axes="ZYX"):
    sizes = {"PhysicalSizeX": 100, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.2}
    sizes |= {"PhysicalSizeZ": 0.0005, "PhysicalSizeZUnit": "mm"}
    tifffile.imwrite(path, array, metadata={"axes": axes, **sizes})


@pytest.mark.parametrize("write", [imagej, ome])
def test_the_voxel_size_of_a_stack_is_read(tmp_path, write):
    write(tmp_path / "a.ome.tif", STACK)
    volume = load_volume(tmp_path / "a.ome.tif")
    assert volume.spacing == pytest.approx((0.5e-3, 0.2e-3, 0.1e-3))
    assert volume.placed


UNITS = {
    "\\u00B5m": 1e-3,
    "micron": 1e-3,
    "nanometer": 1e-6,
    "nm": 1e-6,
    "cm": 10,
    "millimetres": 1,
}


@pytest.mark.parametrize("unit", UNITS)
def test_units_of_imagej_are_read_however_they_are_spelt(tmp_path, unit):
    imagej(tmp_path / "a.tif", STACK, unit)
    sides = np.array([0.5, 0.2, 0.1]) * UNITS[unit]
    assert load_volume(tmp_path / "a.tif").spacing == pytest.approx(tuple(sides))


@pytest.mark.parametrize(("spacing", "depth"), [(-0.3, 0.3), (0, 0.1)])
def test_the_order_of_the_slices_is_no_voxel_size(tmp_path, spacing, depth):
    about = {"axes": "ZYX", "spacing": spacing, "unit": "mm"}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(10, 10), metadata=about)
    volume = load_volume(tmp_path / "a.tif")
    np.testing.assert_allclose(np.diag(volume.affine[[2, 1, 0]])[:3], [depth, 0.1, 0.1])


def test_a_depth_that_ome_does_not_say_has_the_unit_of_the_width(tmp_path):
    about = {"axes": "ZYX", "PhysicalSizeX": 4, "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=about)
    assert load_volume(tmp_path / "a.ome.tif").spacing == pytest.approx((4e-6, 4e-6, 4e-6))


def test_a_stack_written_page_by_page_is_one_volume(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in STACK:
            file.write(page, contiguous=False)
    scan = open_scan(path)
    assert (scan.load(slice(None))[0] == STACK).all()
    assert (scan.load(slice(2, 4))[0] == STACK[2:4]).all()
    with tifffile.TiffWriter(path) as file:
        for page in (*STACK, STACK[0, :8]):
            file.write(page, contiguous=False)
    with pytest.raises(DataError, match="holds 6 stacks"):
        load_volume(path)


def test_dots_in_an_inch_are_no_voxel_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, resolution=(300, 300), resolutionunit=2)
    assert not load_volume(tmp_path / "a.tif").placed
    tifffile.imwrite(tmp_path / "b.tif", STACK, resolution=(100, 100), resolutionunit=3)
    assert load_volume(tmp_path / "b.tif").spacing == pytest.approx((0.1, 0.1, 0.1))


@pytest.mark.parametrize("axes", ["ZCYX", "CZYX"])
def test_colours_of_a_stack_are_channels(tmp_path, axes):
    array = np.stack([STACK, 255 - STACK], axes.index("C"))
    ome(tmp_path / "a.tif", array, axes)
    image = load_volume(tmp_path / "a.tif").image.numpy()
    assert (image == np.stack([STACK, 255 - STACK])).all()
    tifffile.imwrite(tmp_path / "rgb.tif", np.stack([STACK] * 3, -1), photometric="rgb")
    assert load_volume(tmp_path / "rgb.tif").image.shape == (3, 5, 16, 20)


def test_a_film_of_stacks_is_refused(tmp_path):
    ome(tmp_path / "a.tif", np.stack([STACK, STACK]), "TZYX")
    with pytest.raises(DataError, match=r"a\.tif has the axes TZYX .*one time point"):
        load_volume(tmp_path / "a.tif")


def test_a_damaged_stack_is_refused_by_name(tmp_path):
    imagej(tmp_path / "a.tif", STACK)
    content = (tmp_path / "a.tif").read_bytes()
    for length in (3, 100, 600):
        (tmp_path / "b.tif").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"b\.tif .*TIFF"):
            load_volume(tmp_path / "b.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_stack_whose_last_pages_are_missing_is_no_shorter_one(tmp_path, capfd, compression):
    tifffile.imwrite(tmp_path / "a.tif", np.tile(STACK, (4, 1, 1)), compression=compression)
    content = (tmp_path / "a.tif").read_bytes()
    for share in (0.3, 0.6, 0.9):
        (tmp_path / "b.tif").write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError, match=r"b\.tif cannot be read as TIFF .* cut short"):
            load_volume(tmp_path / "b.tif")
    assert capfd.readouterr() == ("", "")


def test_a_mask_of_a_stack_is_a_stack_with_its_voxel_size(tmp_path):
    imagej(tmp_path / "a.tif", STACK)
    volume = load_volume(tmp_path / "a.tif")
    save_mask(tmp_path / "m.tif", STACK > 99, volume, tmp_path / "a.tif")
    again = load_volume(tmp_path / "a.tif", tmp_path / "m.tif")
    assert (again.label.numpy() == (STACK > 99)).all()
    assert load_volume(tmp_path / "m.tif").spacing == pytest.approx(volume.spacing)


def stack(folder, numbers=range(5), ending="png", size=(16, 20)):
    folder.mkdir(parents=True)
    for number, page in zip(numbers, STACK, strict=True):
        if ending == "png":
            Image.fromarray(page[: size[0], : size[1]]).save(folder / f"s{number}.png")
        else:
            tifffile.imwrite(folder / f"s{number}.tif", page)
    return folder


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_folder_of_slices_is_one_volume_in_the_order_of_its_numbers(tmp_path, ending):
    # 10 is after 9, not after 1
    folder = stack(tmp_path / "case", range(8, 13), ending)
    assert is_scan(folder)
    assert (load_volume(folder).image[0].numpy() == STACK).all()


def test_a_data_set_of_a_format_that_has_none_is_refused(tmp_path):
    stack(tmp_path / "stack")
    tifffile.imwrite(tmp_path / "stack.tif", STACK)
    for name in ("stack", "stack.tif"):
        with pytest.raises(DataError, match=f"{name} holds one volume and nothing called raw"):
            open_scan(Path(f"{tmp_path / name}:raw"))


def test_slices_that_are_missing_double_or_odd_are_named(tmp_path):
    with pytest.raises(DataError, match=r"missing in .*after s2\.png comes s4\.png"):
        load_volume(stack(tmp_path / "gap", [0, 1, 2, 4, 5]))
    folder = stack(tmp_path / "double")
    Image.fromarray(STACK[0]).save(folder / "s03.png")
    with pytest.raises(DataError, match="same number"):
        load_volume(folder)
    folder = stack(tmp_path / "odd")
    Image.fromarray(STACK[0, :9]).save(folder / "s3.png")
    with pytest.raises(DataError, match=r"s3\.png has 9 x 20 pixels where s0\.png has 16 x 20"):
        load_volume(folder)


def test_slices_differ_in_one_number_of_their_names(tmp_path):
    for number, page in zip((1, 2, 9, 10, 3), STACK, strict=True):
        Image.fromarray(page).save(tmp_path / f"em2_z{number}_8bit.png")
    with pytest.raises(DataError, match=r"after em2_z3_8bit\.png comes em2_z9_8bit\.png"):
        load_volume(tmp_path)
    for number in (4, 5, 6, 7, 8):
        Image.fromarray(STACK[0]).save(tmp_path / f"em2_z{number}_8bit.png")
    found = load_volume(tmp_path).image[0].numpy()
    assert (found[[0, 1, 8, 9, 2]] == STACK).all()
    Image.fromarray(STACK[0]).save(tmp_path / "em3_z11_8bit.png")
    with pytest.raises(DataError, match="images whose names differ in one number alone"):
        load_volume(tmp_path)


def test_slices_of_two_types_are_refused(tmp_path):
    """The later ones would be cut to the bits of the first."""
    folder = stack(tmp_path / "a", ending="tif")
    tifffile.imwrite(folder / "s3.tif", STACK[0].astype(np.int32))
    with pytest.raises(DataError, match=r"s3\.tif holds int32 values where s0\.tif holds uint8"):
        load_volume(folder)


def test_a_folder_of_whole_stacks_is_no_volume(tmp_path):
    for case in range(2):
        imagej(tmp_path / f"case{case}.tif", STACK)
    assert not is_scan(tmp_path)
    with pytest.raises(DataError, match="holds no scan"):
        load_volume(tmp_path)


def test_stacks_and_folders_of_slices_are_cases_with_masks_of_0_and_255(tmp_path):
    for case in "ab":
        stack(tmp_path / "images" / case)
        (tmp_path / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "masks" / f"{case}.tif", np.uint8(255 * (STACK > 99)))
    volumes = load_folder(tmp_path, num_classes=2)
    assert [volume.name for volume in volumes] == ["a", "b"]
    assert (volumes[0].label.numpy() == (STACK > 99)).all()


@pytest.mark.parametrize("name", ["case.nii.gz", "case.OME.TIF", "case.mgz", "case"])
def test_the_name_of_a_case_has_no_suffix(tmp_path, name):
    assert stem(tmp_path / name) == "case"


def test_a_name_with_a_colon_is_a_file_if_there_is_one(tmp_path):
    (tmp_path / "a:b.nii").touch()
    assert split(tmp_path / "a:b.nii") == (tmp_path / "a:b.nii", None)
