"""Volumes of electron microscopy: N5, neuroglancer's precomputed, and parts of large files."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from lean3d.data import load_volume
from lean3d.data.read import open_scan
from lean3d.errors import DataError

tensorstore = pytest.importorskip("tensorstore")

X_DHW = np.random.default_rng(0).integers(0, 60000, (5, 6, 7)).astype(np.uint16)
PART = (slice(1, 4), slice(2, 5), slice(0, 6))


def made(folder, driver, x_xyz, **members):
    """An array of tensorstore, written along x, y, z as its formats are."""
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder}/"}, "create": True}
    tensorstore.open(spec | members).result()[...] = x_xyz


def n5(folder, x_DHW=X_DHW, **attributes):
    about = {"dimensions": x_DHW.shape[::-1], "blockSize": [4] * x_DHW.ndim}
    about |= {"dataType": x_DHW.dtype.name, "compression": {"type": "gzip"}}
    made(folder, "n5", x_DHW.T, metadata=about | attributes)
    return folder


def precomputed(folder, x_DHW=X_DHW, key="4_4_40", offset=(0, 0, 0), **more):
    kind = {"type": "image", "data_type": x_DHW.dtype.name, "num_channels": 1}
    scale = {"key": key, "size": x_DHW.shape[::-1], "resolution": [4, 4, 40], "encoding": "raw"}
    scale |= {"chunk_size": [4, 4, 4], "voxel_offset": offset}
    members = {"multiscale_metadata": kind, "scale_metadata": scale | more}
    made(folder, "neuroglancer_precomputed", x_DHW.T[..., None], **members)
    return folder


def same(path, x_DHW=X_DHW, spacing_mm=(40e-6, 4e-6, 4e-6)):
    scan = open_scan(Path(path))
    assert scan.grid.shape == x_DHW.shape
    np.testing.assert_array_equal(scan.load(slice(None))[0], x_DHW)
    np.testing.assert_array_equal(scan.window(PART)[0], x_DHW[PART])
    assert scan.grid.known == (spacing_mm is not None)
    if spacing_mm is not None:
        assert scan.grid.spacing == pytest.approx(spacing_mm)
    return True


@pytest.mark.parametrize(
    "attributes",
    [
        {"resolution": [4.0, 4.0, 40.0], "units": ["nm"] * 3, "axes": ["x", "y", "z"]},
        {"resolution": [4, 4, 40]},
        {"pixelResolution": {"dimensions": [0.004, 0.004, 0.04], "unit": "um"}},
    ],
)
def test_n5_is_read_with_its_sizes(tmp_path, attributes):
    assert same(n5(tmp_path / "a.n5", **attributes))


def test_n5_without_sizes_and_with_named_axes(tmp_path):
    assert same(n5(tmp_path / "a.n5"), spacing_mm=None)
    named = n5(tmp_path / "b.n5", X_DHW.T, axes=["z", "y", "x"])
    assert same(named, spacing_mm=None)


def test_n5_has_datasets_and_scales(tmp_path):
    root = tmp_path / "em.n5"
    n5(root / "volumes" / "raw" / "s0", resolution=[4, 4, 40])
    n5(root / "volumes" / "raw" / "s1", X_DHW[:, ::2, ::2].copy(), resolution=[8, 8, 40])
    assert same(f"{root}:volumes/raw")
    assert open_scan(Path(f"{root}:volumes/raw/s1")).grid.shape == (5, 3, 4)
    assert same(root)
    n5(root / "volumes" / "labels", X_DHW // 9)
    with pytest.raises(DataError, match=r"holds volumes/labels .*say which, such as"):
        open_scan(root)
    with pytest.raises(DataError, match="no dataset volumes/x; there are: volumes/labels"):
        open_scan(Path(f"{root}:volumes/x"))
    (root / "volumes" / "raw" / "attributes.json").write_text(json.dumps({"resolution": [1, 2, 3]}))
    whole = n5(root / "volumes" / "raw" / "s2")
    assert open_scan(whole).grid.spacing == pytest.approx((3e-6, 2e-6, 1e-6))


def test_offsets_of_n5_and_zarr_are_places(tmp_path):
    path = n5(tmp_path / "a.n5", resolution=[4, 4, 40], offset=[8, 12, 80])
    array = zarr.create_array(tmp_path / "a.zarr", data=X_DHW)
    array.attrs.update(resolution=[40, 4, 4], offset=[80, 12, 8])
    assert open_scan(path).first == open_scan(tmp_path / "a.zarr").first == (2, 3, 2)


def test_channels_of_n5_are_the_last_axis_of_the_file(tmp_path):
    path = n5(tmp_path / "a.n5", np.stack([X_DHW, X_DHW + 1]))
    assert load_volume(path).image.shape == (2, *X_DHW.shape)
    assert (load_volume(path).image[1].numpy() == X_DHW + 1).all()


@pytest.mark.parametrize("offset", [(0, 0, 0), (100, 20, 3)])
def test_precomputed_is_read_from_its_first_voxel(tmp_path, offset):
    assert same(precomputed(tmp_path / "a.precomputed", offset=offset))
    assert same(precomputed(tmp_path / "plain", offset=offset))
    assert open_scan(tmp_path / "plain").first == offset[::-1]


def test_a_scale_of_precomputed_is_named(tmp_path):
    path = precomputed(tmp_path / "a.precomputed")
    precomputed(path, X_DHW[:, ::2, ::2].copy(), key="8_8_40", resolution=[8, 8, 40])
    coarse = open_scan(Path(f"{path}:8_8_40"))
    assert coarse.grid.shape == (5, 3, 4)
    assert coarse.grid.spacing == pytest.approx((40e-6, 8e-6, 8e-6))
    assert same(path)
    with pytest.raises(DataError, match="no scale 2_2_40; there are: 4_4_40, 8_8_40"):
        open_scan(Path(f"{path}:2_2_40"))


def test_what_is_missing_or_damaged_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_scan(tmp_path / "gone.n5")
    with pytest.raises(DataError, match="no file `info`"):
        open_scan(tmp_path / "gone.precomputed")
    path = n5(tmp_path / "a.n5")
    (path / "0" / "0" / "0").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"a\.n5 cannot be read") as caught:
        load_volume(path)
    assert len(str(caught.value)) <= 400
    (path / "attributes.json").write_text('{"dimensions": [4, 4, 4]}')
    with pytest.raises(DataError, match=r"a\.n5 cannot be read") as caught:
        load_volume(path)
    assert len(str(caught.value)) <= 400


@pytest.mark.parametrize("name", ["resolution", "voxel_size"])
def test_an_attribute_of_zarr_is_its_size_in_nanometres(tmp_path, name):
    array = zarr.create_array(tmp_path / "a.zarr", data=X_DHW)
    array.attrs[name] = [40, 4, 4]
    assert same(tmp_path / "a.zarr")


STEPS = {"z": 40.0, "y": 4.0, "x": 4.0}
MOVES = {"z": 80.0, "y": 12.0, "x": 8.0}


def ome(folder, version, axes="zyx", moves=MOVES, above=False):
    """An image of two scales, with steps and places on each of them, or above both."""
    group = zarr.open_group(folder, mode="w", zarr_format=version)
    named = [{"name": a, "type": "space", "unit": "nanometer"} for a in axes]
    named = [a if a["name"] in STEPS else {"name": a["name"]} for a in named]
    levels = []
    for level, factor in ((0, 1), (1, 2)):
        x = X_DHW[:, ::factor, ::factor][(None,) * (len(axes) - 3)]
        rest = [a for a in axes if a not in STEPS]
        x = x.transpose([(rest + list("zyx")).index(a) for a in axes])
        group.create_array(str(level), data=np.ascontiguousarray(x))
        wide = {"z": 1, "y": factor, "x": factor}
        half = {a: STEPS.get(a, 1) * (wide.get(a, 1) - 1) / 2 for a in axes}
        steps = [wide.get(a, 1) * (1 if above else STEPS.get(a, 1)) for a in axes]
        told = [{"type": "scale", "scale": steps}]
        if not above:
            place = [moves.get(a, 0) + half[a] for a in axes]
            told.append({"type": "translation", "translation": place})
        levels.append({"path": str(level), "coordinateTransformations": told})
    image = {"axes": named, "datasets": levels}
    if above:
        image["coordinateTransformations"] = [
            {"type": "scale", "scale": [STEPS.get(a, 1) for a in axes]},
            {"type": "translation", "translation": [moves.get(a, 0) for a in axes]},
        ]
    group.attrs.update(
        {"multiscales": [image]} if version == 2 else {"ome": {"multiscales": [image]}}
    )
    return folder


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(("version", "axes"), [(2, "zyx"), (3, "xyz"), (2, "tczyx"), (3, "cxzy")])
def test_transformations_and_axes_of_ome_zarr_are_followed(tmp_path, version, axes, above):
    path = ome(tmp_path / "a.zarr", version, axes, above=above)
    assert same(path)
    # of voxels as large as 40 x 4 x 4 nm, and as 40 x 8 x 8
    assert open_scan(path).first == (2, 3, 2)
    coarse = open_scan(Path(f"{path}:1"))
    np.testing.assert_array_equal(coarse.load(slice(None))[0], X_DHW[:, ::2, ::2])
    assert coarse.grid.spacing == pytest.approx((40e-6, 8e-6, 8e-6))
    assert coarse.first == (2, 2, 1)


def test_images_of_a_zarr_are_arrays_of_it_with_their_scales(tmp_path):
    for group in ("em.zarr", "em.zarr/labels"):
        zarr.open_group(tmp_path / group, mode="a", zarr_format=2)
    ome(tmp_path / "em.zarr" / "raw", 2)
    ome(tmp_path / "em.zarr" / "labels" / "cells", 2)
    for name in ("em.zarr", "em.zarr:raw", "em.zarr:raw/0", "em.zarr:labels/cells/0"):
        assert same(f"{tmp_path}/{name}")
    coarse = open_scan(Path(f"{tmp_path}/em.zarr:labels/cells/1"))
    assert coarse.grid.spacing == pytest.approx((40e-6, 8e-6, 8e-6))
    # labels inside an image are not the image
    zarr.open_group(tmp_path / "em.zarr/raw/labels", mode="a", zarr_format=2)
    ome(tmp_path / "em.zarr" / "raw" / "labels" / "cells", 2)
    assert open_scan(tmp_path / "em.zarr" / "raw").scales == ("1",)
    with pytest.raises(DataError, match=r"no array raw/7; there are: labels/cells/0, labels/"):
        open_scan(Path(f"{tmp_path}/em.zarr:raw/7"))


def test_an_image_without_a_place_says_none(tmp_path):
    assert open_scan(ome(tmp_path / "a.zarr", 3, moves={}, above=False)).first == (0, 0, 0)
    zarr.create_array(tmp_path / "b.zarr", data=X_DHW).attrs["offset"] = [np.nan, 0, 0]
    assert open_scan(tmp_path / "b.zarr").first is None
    assert open_scan(n5(tmp_path / "a.n5")).first is None
    assert open_scan(precomputed(tmp_path / "a.precomputed")).first == (0, 0, 0)


def test_one_section_of_ome_zarr_is_a_volume_of_depth_1(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    group.create_array("0", data=X_DHW[:2])
    image = {"axes": [{"name": a} for a in "cyx"], "datasets": [{"path": "0"}]}
    group.attrs["ome"] = {"multiscales": [image]}
    scan = open_scan(tmp_path / "a.zarr")
    assert (scan.channels, scan.grid.shape) == (2, (1, 6, 7))
    np.testing.assert_array_equal(scan.load(slice(None)), X_DHW[:2, None])


def stored(path, x, **how):
    tifffile.imwrite(path, x, **how)
    return path


COLOURS = np.random.default_rng(1).integers(0, 255, (5, 6, 7, 3)).astype(np.uint8)
TIFFS = {
    "plain": (X_DHW, {}),
    "other end first": (X_DHW, dict(byteorder=">")),
    "compressed": (X_DHW, dict(compression="zlib")),
    "tiles": (X_DHW, dict(tile=(16, 16))),
    "ImageJ": (X_DHW, dict(imagej=True, metadata={"axes": "ZYX"})),
    "channels": (np.stack([X_DHW] * 2, 1), dict(imagej=True, metadata={"axes": "ZCYX"})),
    "OME": (np.stack([X_DHW] * 2), dict(metadata={"axes": "CZYX"}, compression="zlib")),
    "colours": (COLOURS, dict(photometric="rgb", compression="zlib")),
    "one page": (X_DHW[0], {}),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_planes_of_a_tiff_are_those_of_the_whole(tmp_path, kind):
    x, how = TIFFS[kind]
    scan = open_scan(
        stored(tmp_path / "a.ome.tif" if kind == "OME" else tmp_path / "a.tif", x, **how)
    )
    whole = scan.load(slice(None))
    for planes in (slice(1, 3), slice(0, 1), slice(4, 9), slice(2, 2)):
        part = scan.load(planes)
        np.testing.assert_array_equal(part, whole[:, planes])
        assert part.dtype == whole.dtype
    np.testing.assert_array_equal(scan.window(PART), whole[(slice(None), *PART)])


def test_planes_that_pillow_decodes(tmp_path):
    pages = [Image.fromarray(page) for page in COLOURS]
    pages[0].save(
        tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw"
    )
    scan = open_scan(tmp_path / "a.tif")
    np.testing.assert_array_equal(scan.load(slice(2, 4)), COLOURS[2:4].transpose(3, 0, 1, 2))


def test_planes_of_a_stack_do_not_read_the_others(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        tifffile.TiffPageSeries, "asarray", lambda self, **how: read.append(self) or X_DHW
    )
    for compression in (None, "zlib"):
        scan = open_scan(stored(tmp_path / "a.tif", X_DHW, compression=compression))
        np.testing.assert_array_equal(scan.load(slice(3, 4))[0], X_DHW[3:4])
    assert not read
