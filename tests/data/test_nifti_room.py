"""A header that promises what its file or memory cannot hold is refused before that is read."""

import gzip
import struct
import time
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from lean3d.data import load_volume
from lean3d.data.formats.nifti import SLAB, open_nifti
from lean3d.data.read import read_image
from lean3d.errors import DataError, LeanError


def scan(shape=(8, 9, 10), dtype=np.float32):
    array = np.random.default_rng(0).normal(100, 20, shape).astype(dtype)
    return nib.Nifti1Image(array, np.eye(4)).to_bytes()


def changed(content, place, kind, value):
    content = bytearray(content)
    struct.pack_into(kind, content, place, value)
    return bytes(content)


@pytest.mark.slow
def test_what_stands_behind_the_voxels_is_not_read(tmp_path):
    """1 MB that unpacks to a gigabyte."""
    path = tmp_path / "bomb.nii.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(scan())
        for _ in range(1 << 8):
            file.write(bytes(1 << 22))
    start = time.process_time()
    with pytest.raises(DataError, match=r"bomb\.nii\.gz: it goes on behind the voxels"):
        read_image(path)
    assert time.process_time() - start < 1


def test_a_little_padding_behind_the_voxels_is_none_of_our_business(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(scan() + bytes(4096)))
    assert read_image(tmp_path / "a.nii.gz")[0].shape == (1, 10, 9, 8)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("sides", [(32767, 32767, 32767), (3000, 3000, 3000)])
def test_more_voxels_than_the_file_holds_are_refused_by_the_header(tmp_path, ending, sides):
    content = bytearray(scan())
    struct.pack_into("<3h", content, 42, *sides)
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    with pytest.raises(DataError, match="of voxels, more than it can hold"):
        read_image(path)


def test_more_voxels_than_memory_holds_are_refused_by_the_header(tmp_path, monkeypatch):
    monkeypatch.setattr("lean3d.limits.free_memory", lambda: 1000)
    (tmp_path / "a.nii").write_bytes(scan())
    with pytest.raises(LeanError, match=r"a\.nii takes 5\.6 KiB of memory and 1000 bytes are free"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_planes_of_a_scan_need_room_for_themselves_alone(tmp_path, monkeypatch, ending):
    stored = np.random.default_rng(0).integers(0, 1000, (64, 64, 80)).astype(np.int16)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / f"a{ending}")
    load = open_nifti(tmp_path / f"a{ending}").load
    stored_bytes = stored.nbytes if ending == ".nii.gz" else 0
    monkeypatch.setattr("lean3d.limits.free_memory", lambda: stored_bytes + 64 * 64 * 40 * 8)
    assert (load(slice(20, 60))[0] == stored.T[20:60]).all()
    with pytest.raises(LeanError, match="of memory and"):
        load(slice(0, 41))


@pytest.mark.parametrize("ending", [".nii", pytest.param(".nii.gz", marks=pytest.mark.slow)])
def test_scaling_takes_less_than_two_copies_in_single_precision(tmp_path, ending):
    stored = np.random.default_rng(0).integers(-1024, 3000, (256, 128, 640)).astype(np.int16)
    image = nib.Nifti1Image(stored, np.diag([-1, -1, 1, 1]))
    image.header.set_slope_inter(0.5, -3)
    image.header.set_data_dtype(np.int16)
    path = tmp_path / f"a{ending}"
    content = bytearray(image.to_bytes())
    content[112:120] = np.array([0.5, -3], "<f4").tobytes()
    voxels = np.array(stored, "<i2", order="F").tobytes("F")
    content = bytes(content[:352]) + voxels
    path.write_bytes(gzip.compress(content, 1) if ending == ".nii.gz" else content)
    tracemalloc.start()
    x_CDHW = read_image(path)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert x_CDHW.dtype == np.float32
    assert (x_CDHW[0] == stored[::-1, ::-1].T * 0.5 - 3).all()
    # as stored, if it is packed, as read, turned, and a few planes in double precision
    assert peak < (2.3 if ending == ".nii" else 2.8) * x_CDHW.nbytes + 16 * SLAB


@pytest.mark.parametrize("offset", [1e9, -352.0, float("nan"), float("inf")])
def test_voxels_that_would_begin_far_away_are_refused(tmp_path, offset):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(changed(scan(), 108, "<f", offset)))
    with pytest.raises(DataError, match="its voxels would begin at byte"):
        read_image(path)


@pytest.mark.parametrize("length", [2**31 - 1, -5, 0, 400])
@pytest.mark.parametrize("order", "<>")
def test_an_extension_longer_than_its_room_is_refused(tmp_path, length, order):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    header = nib.Nifti1Header(endianness=order)
    image = nib.Nifti1Image(array, np.eye(4), header)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 40))
    content = image.to_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content))
    assert read_image(path)[0].shape == (1, 4, 3, 2)
    path.write_bytes(gzip.compress(changed(content, 352, f"{order}i", length)))
    with pytest.raises(DataError, match=r"it has an extension of .* bytes and no room for it"):
        read_image(path)


@pytest.mark.parametrize(
    ("spacing", "sentence"),
    [(1e9, "smaller than a voxel of 1e[+]09"), (1e-3, "at 0.001 x 0.001 x 0.001 mm takes .*iB")],
)
def test_a_spacing_that_leaves_nothing_or_fills_memory_is_refused(tmp_path, spacing, sentence):
    (tmp_path / "a.nii").write_bytes(scan((60, 60, 60)))
    with pytest.raises(LeanError, match=sentence):
        load_volume(tmp_path / "a.nii", spacing_mm=spacing)
