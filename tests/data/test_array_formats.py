"""Scans of NRRD, MetaImage, HDF5, Zarr and numpy."""

import h5py
import numpy as np
import pytest
import SimpleITK
import zarr
from scans import AFFINES, blobs, noise, write

from lean3d.data import load_folder, load_volume, save_mask
from lean3d.data.read import open_scan, read_label
from lean3d.errors import DataError

X_DHW = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


def as_itk(path, nifti):
    """What ITK makes of a NIfTI file: an independent writer of the other formats."""
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(nifti)), str(path))
    return path


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
@pytest.mark.parametrize("axes", ["RAS", "PSR", "oblique LPI"])
def test_nrrd_and_metaimage_are_read_as_the_nifti_they_came_from(tmp_path, ending, axes):
    nifti = write(tmp_path / "x.nii.gz", noise(), AFFINES[axes])
    right, volume = (load_volume(p) for p in (nifti, as_itk(tmp_path / f"x{ending}", nifti)))
    assert (volume.image == right.image).all()
    np.testing.assert_allclose(volume.affine, right.affine, atol=1e-4)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("scan", ["x.nrrd", "x.mha"])
def test_a_mask_of_itk_is_where_its_scan_is(tmp_path, scan, ending):
    nifti = write(tmp_path / "x.nii.gz", noise(), AFFINES["oblique SAR"])
    volume = load_volume(as_itk(tmp_path / scan, nifti))
    mask = blobs().T if volume.image.shape[1:] == blobs().T.shape else volume.image[0] > 0
    save_mask(tmp_path / f"m{ending}", np.asarray(mask), volume, tmp_path / scan)
    again = load_volume(tmp_path / scan, tmp_path / f"m{ending}")
    assert (again.label.numpy() == np.asarray(mask)).all()
    saved = SimpleITK.ReadImage(str(tmp_path / f"m{ending}"))
    original = SimpleITK.ReadImage(str(tmp_path / scan))
    # the file's own axes: other tools compare voxels by their index
    assert saved.GetSize() == original.GetSize()
    np.testing.assert_allclose(saved.GetDirection(), original.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(saved.GetOrigin(), original.GetOrigin(), atol=1e-4)


@pytest.mark.parametrize("sides", [0.5, [0, 1, 1], [float("nan"), 1, 1], [1, 1], ["a", "b", "c"]])
def test_a_spacing_of_npz_that_is_none_is_not_taken(tmp_path, sides):
    np.savez(tmp_path / "x.npz", image=X_DHW, spacing_mm=sides)
    volume = load_volume(tmp_path / "x.npz")
    assert not volume.placed
    assert volume.spacing == (1, 1, 1)


def test_vectors_of_itk_are_channels(tmp_path):
    x_DHWC = np.stack([X_DHW, X_DHW + 9], -1)
    image = SimpleITK.GetImageFromArray(x_DHWC, isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "x.mha"))
    # without directions ITK's axes point to left and posterior
    volume = load_volume(tmp_path / "x.mha").image.numpy()
    assert (volume == np.moveaxis(x_DHWC, -1, 0)[:, :, ::-1, ::-1]).all()


def test_a_metaimage_without_its_voxels_is_refused(tmp_path):
    nifti = write(tmp_path / "x.nii.gz", noise())
    as_itk(tmp_path / "x.mhd", nifti)
    (tmp_path / "x.zraw" if (tmp_path / "x.zraw").exists() else tmp_path / "x.raw").unlink()
    with pytest.raises(DataError, match=r"x\.mhd cannot be read as MetaImage: there is no"):
        load_volume(tmp_path / "x.mhd")


def hdf5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, array in datasets.items():
            file[name.replace("__", "/")] = array
            file[name.replace("__", "/")].attrs["resolution"] = (40.0, 4.0, 4.0)
    return path


def test_a_dataset_of_hdf5_is_named_or_the_only_one(tmp_path):
    path = hdf5(tmp_path / "a.h5", raw=X_DHW, more=np.zeros(3))
    volume = load_volume(path)
    assert (volume.image[0].numpy() == X_DHW).all()
    assert volume.spacing == pytest.approx((40e-6, 4e-6, 4e-6))
    path = hdf5(tmp_path / "b.h5", volumes__raw=X_DHW, volumes__labels=np.int64(X_DHW > 0))
    volume = load_volume(f"{path}:volumes/raw", f"{path}:volumes/labels", num_classes=2)
    assert (volume.label.numpy() == (X_DHW > 0)).all()
    assert (open_scan(path).load(slice(2, 4))[0] == X_DHW[2:4]).all()
    with pytest.raises(DataError, match="no dataset volumes/x; there are: volumes/labels"):
        load_volume(f"{path}:volumes/x")
    path = hdf5(tmp_path / "c.h5", one=X_DHW, two=X_DHW)
    with pytest.raises(DataError, match=r"holds one \(5 x 6 x 7\), two .*such as c\.h5:one"):
        load_volume(path)


@pytest.mark.parametrize("axis", [0, 3])
def test_the_shorter_end_of_four_axes_is_the_channels(tmp_path, axis):
    x = np.stack([X_DHW, X_DHW + 1], axis)
    for path in (hdf5(tmp_path / "a.h5", raw=x), tmp_path / "a.npy"):
        np.save(tmp_path / "a.npy", x)
        assert (load_volume(path).image.numpy() == np.stack([X_DHW, X_DHW + 1])).all()


@pytest.mark.parametrize("version", [2, 3])
def test_arrays_of_zarr_are_read(tmp_path, version):
    zarr.save_array(tmp_path / "a.zarr", X_DHW, zarr_format=version)
    assert (load_volume(tmp_path / "a.zarr").image[0].numpy() == X_DHW).all()
    group = zarr.open_group(tmp_path / "g.zarr", mode="w", zarr_format=version)
    group.create_array("em/raw", data=X_DHW)
    assert (load_volume(f"{tmp_path}/g.zarr:em/raw").image[0].numpy() == X_DHW).all()
    with pytest.raises(DataError, match=r"g\.zarr has no array em/x; there are: em/"):
        load_volume(f"{tmp_path}/g.zarr:em/x")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("axes", ["zyx", "czyx", "tczyx"])
def test_the_scales_of_ome_zarr_are_read_with_their_spacing(tmp_path, version, axes):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    sizes = {"t": 1, "c": 2, "z": 5, "y": 6, "x": 7}
    shape = [sizes[axis] for axis in axes]
    x = np.broadcast_to(X_DHW, shape) + (np.arange(2).reshape(2, 1, 1, 1) if "c" in axes else 0)
    steps = {"z": 40.0, "y": 8.0, "x": 4.0}
    levels = []
    for level, factor in ((0, 1), (1, 2)):
        group.create_array(f"s{level}", data=x[..., ::factor, ::factor].astype(np.float32))
        scale = [steps.get(a, 1) * (factor if a in "yx" else 1) for a in axes]
        transform = [{"type": "scale", "scale": scale}]
        levels.append({"path": f"s{level}", "coordinateTransformations": transform})
    about = {
        "axes": [
            {"name": a, "type": "space", "unit": "nanometer"} if a in steps else {"name": a}
            for a in axes
        ],
        "datasets": levels,
    }
    group.attrs.update(
        {"multiscales": [about]} if version == 2 else {"ome": {"multiscales": [about]}}
    )
    volume = load_volume(tmp_path / "a.zarr")
    assert volume.image.shape == (2 if "c" in axes else 1, *X_DHW.shape)
    assert (volume.image[0].numpy() == X_DHW).all()
    assert volume.spacing == pytest.approx((40e-6, 8e-6, 4e-6))
    coarse = load_volume(f"{tmp_path}/a.zarr:s1")
    assert coarse.spacing == pytest.approx((40e-6, 16e-6, 8e-6))
    assert (coarse.image[0].numpy() == X_DHW[:, ::2, ::2]).all()


def test_an_array_of_npz_is_named_the_only_one_or_an_image(tmp_path):
    np.savez(tmp_path / "a.npz", voxel=X_DHW, answer1=X_DHW > 0, spacing_mm=(1, 2, 3))
    volume = load_volume(tmp_path / "a.npz", f"{tmp_path}/a.npz:answer1", num_classes=2)
    assert (volume.image[0].numpy() == X_DHW).all()
    assert (volume.label.numpy() == (X_DHW > 0)).all()
    assert volume.spacing == (1, 2, 3)
    with pytest.raises(DataError, match="no array x; there are: voxel, answer1"):
        load_volume(f"{tmp_path}/a.npz:x")


def test_objects_and_damage_are_refused_not_run(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    (tmp_path / "b.npz").write_bytes(b"PK nonsense")
    (tmp_path / "c.h5").write_bytes(b"nonsense")
    for name in ("a.npy", "b.npz", "c.h5"):
        with pytest.raises(DataError, match=rf"{name} cannot be read"):
            load_volume(tmp_path / name)


def test_formats_can_be_mixed_in_a_folder(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    np.save(tmp_path / "images" / "a.npy", X_DHW)
    zarr.save_array(tmp_path / "labels" / "a.zarr", np.uint8(X_DHW > 0))
    hdf5(tmp_path / "images" / "b.h5", raw=X_DHW)
    write(tmp_path / "labels" / "b.nii", np.uint8(X_DHW.T > 0), np.diag([4e-6, 4e-6, 40e-6, 1]))
    for volume in load_folder(tmp_path, num_classes=2):
        assert (volume.label.numpy() == (X_DHW > 0)).all()


def test_a_mask_is_written_as_ome_zarr(tmp_path):
    write(tmp_path / "scan.nii", X_DHW.T.astype(np.float32), np.diag([0.5, 0.7, 3, 1]))
    volume = load_volume(tmp_path / "scan.nii")
    place = tmp_path / "mask.zarr"
    save_mask(place, np.uint8(X_DHW > 0), volume, tmp_path / "scan.nii", names=("air", "nerve"))
    group = zarr.open_group(place, mode="r")
    assert group.attrs["classes"] == ["air", "nerve"]
    assert (group["0"].dtype, group["0"].shape) == (np.uint8, X_DHW.shape)
    label, grid = read_label(place, 2)
    assert (label == (X_DHW > 0)).all()
    assert np.linalg.norm(grid.affine[:3, :3], axis=0) == pytest.approx([3, 0.7, 0.5])
    # a folder that is there is not replaced, and nothing is left beside it
    with pytest.raises(DataError, match=r"cannot write .*mask\.zarr: .*nothing was changed"):
        save_mask(place, np.uint8(X_DHW < 0), volume, tmp_path / "scan.nii")
    assert (zarr.open_group(place, mode="r")["0"][...] == (X_DHW > 0)).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.zarr", "scan.nii"]


def packed(folder):
    """A scan in every format whose voxels are packed; the path to read, and the file to damage."""
    X = np.random.default_rng(0).integers(0, 900, (40, 24, 28)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(X)
    for name in ("x.mha", "x.nrrd", "x.mhd"):
        SimpleITK.WriteImage(image, str(folder / name), useCompression=True)
        yield folder / name, folder / name.replace("mhd", "zraw")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("raw", data=X, compression="gzip")
    np.savez_compressed(folder / "x.npz", raw=X)
    gzip = zarr.codecs.GzipCodec()
    zarr.create_array(folder / "x.zarr", data=X, chunks=X.shape, compressors=gzip)
    chunk = max((folder / "x.zarr" / "c").rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    yield folder / "x.h5", folder / "x.h5"
    yield folder / "x.npz", folder / "x.npz"
    yield folder / "x.zarr", chunk


@pytest.mark.parametrize("damage", ["cut", "garbled", "empty", "no head"])
def test_packed_voxels_that_are_damaged_name_the_file(tmp_path, capfd, damage):
    for path, file in list(packed(tmp_path)):
        content = bytearray(file.read_bytes())
        size = len(content)
        if damage == "garbled":
            middle = slice(size // 2 - 200, size // 2 + 200)
            content[middle] = np.random.default_rng(0).bytes(400)
        elif damage == "no head":
            content[:64] = bytes(64)
        else:
            content = content[: size // 2 if damage == "cut" else 0]
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"{path.name} cannot be read"):
            load_volume(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["mha", "mhd", "nrrd", "nhdr"])
def test_packed_voxels_are_compared_with_their_sum_when_they_are_read(tmp_path, capfd, suffix):
    X = np.random.default_rng(0).integers(0, 900, (20, 24, 28)).astype(np.int16)
    path = tmp_path / f"x.{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(X), str(path), useCompression=True)
    assert (load_volume(path).image[0].numpy() == X[:, ::-1, ::-1]).all()
    packed = {"mhd": tmp_path / "x.zraw", "nhdr": tmp_path / "x.raw.gz"}.get(suffix, path)
    content = packed.read_bytes()
    for place in range(-20, -8):  # of the voxels; the sum is after them
        packed.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        # the header is read alone, however many voxels there are
        assert open_scan(path).grid.shape == X.shape
        with pytest.raises(DataError, match=rf"x\.{suffix} cannot be read .*unpacked"):
            load_volume(path)
    packed.write_bytes(content[:-4])
    with pytest.raises(DataError, match="cut short"):
        load_volume(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("DimSize", "Dimsize"), "its header has no DimSize"),
        (lambda text: text.replace("MET_FLOAT", "MET_FLAOT"), "its header says"),
        (lambda text: text.replace("x.raw", "y.raw"), r"there is no file y\.raw beside it"),
        (lambda text: text.replace("DimSize = 7", "DimSize = 70"), "it promises 8,400 bytes"),
    ],
)
def test_a_header_of_metaimage_that_does_not_hold_is_said(tmp_path, capfd, change, why):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(X_DHW), str(tmp_path / "x.mhd"))
    text = (tmp_path / "x.mhd").read_text()
    (tmp_path / "x.mhd").write_text(change(text))
    with pytest.raises(DataError, match=rf"x\.mhd cannot be read as MetaImage: {why}"):
        load_volume(tmp_path / "x.mhd")
    assert capfd.readouterr() == ("", "")
