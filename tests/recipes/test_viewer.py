"""The server of a viewer, asked as a browser asks it."""

import io
import json
import subprocess
import sys
import urllib.request
import zlib

import numpy as np
import pytest
import tifffile

from lean3d.cli.main import main
from lean3d.errors import LeanError
from lean3d.infer.label_store import LabelStore

neuroglancer = pytest.importorskip("neuroglancer")
pytest.importorskip("tensorstore")
from lean3d.recipes.viewer import open_viewer  # noqa: E402

RAW = np.random.default_rng(0).integers(0, 255, (5, 6, 7)).astype(np.uint8)
LABELS = np.arange(RAW.size).reshape(RAW.shape).astype(np.uint32) // 20
WHOLE = tuple(slice(0, n) for n in RAW.shape)


@pytest.fixture
def home(tmp_path):
    tifffile.imwrite(tmp_path / "raw.tif", RAW)
    tifffile.imwrite(tmp_path / "floats.tif", RAW.astype(np.float64))
    for form in ("zarr", "n5", "precomputed"):
        store = LabelStore(tmp_path / f"seg.{form}", form, (40.0, 4.0, 8.0))
        store.make(RAW.shape, (4, 4, 4))
        store.write(WHOLE, LABELS)
    return tmp_path


def asked(viewer, name, window, scale="1,1,1"):
    """The information about a layer, and a part of it (x, y, z) of a scale, from the server."""
    (layer,) = [one for one in viewer.state.to_json()["layers"] if one["name"] == name]
    key = layer["source"][0]["url"].rpartition("/")[2]
    base = viewer.get_viewer_url().split("/v/")[0]
    with urllib.request.urlopen(f"{base}/neuroglancer/info/{key}") as answer:
        about = json.load(answer)
    ends = [",".join(str(getattr(s, end)) for s in window) for end in ("start", "stop")]
    place = f"{key}/{scale}/{'/'.join(ends)}"
    with urllib.request.urlopen(f"{base}/neuroglancer/npz/{place}") as answer:
        part = np.load(io.BytesIO(zlib.decompress(answer.read())))
    return about, part


@pytest.mark.parametrize("form", ["zarr", "n5", "precomputed"])
def test_a_browser_gets_the_voxels_of_every_format(home, form):
    viewer = open_viewer({"raw": home / "raw.tif"}, {"seg": home / f"seg.{form}"})
    window = (slice(2, 6), slice(0, 5), slice(1, 4))
    about, part = asked(viewer, "seg", window)
    np.testing.assert_array_equal(part, LABELS.T[window])
    assert about["volumeType"] == "segmentation"
    space = about["coordinateSpace"]
    assert [space[axis][0] for axis in "xyz"] == pytest.approx([8e-9, 4e-9, 4e-8])
    assert {space[axis][1] for axis in "xyz"} == {"m"}
    np.testing.assert_array_equal(asked(viewer, "raw", window)[1], RAW.T[window])
    with urllib.request.urlopen(viewer.get_viewer_url()) as page:
        assert b"neuroglancer" in page.read()


@pytest.mark.parametrize("form", ["zarr", "n5", "precomputed"])
def test_a_browser_gets_the_stored_scales(tmp_path, form, monkeypatch):
    monkeypatch.setattr("lean3d.infer.scales.SMALL", 4)
    store = LabelStore(tmp_path / f"seg.{form}", form, (40.0, 4.0, 8.0))
    shape = (6, 36, 18)
    labels = np.arange(np.prod(shape)).reshape(shape).astype(np.uint32) // 5
    window = tuple(slice(0, n) for n in shape)
    store.make(shape, shape)
    store.write(window, labels)
    scales = store.coarser(shape)
    assert [step for _, step in scales] == [(1, 2, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2)]
    for number, (sizes, step) in enumerate(scales, start=1):
        store.shrink(number, step, tuple(slice(0, n) for n in sizes))
    # what is not there shows that none but the coarser scales are read
    stored = [store.read(tuple(slice(0, n) for n in s), k + 1) for k, (s, _) in enumerate(scales)]
    store.write(window, np.zeros_like(labels))
    viewer = open_viewer({}, {"seg": store.folder})
    factor = np.ones(3, int)
    for (sizes, step), expected in zip(scales, stored, strict=True):
        factor *= step
        turned = tuple(slice(0, n) for n in sizes[::-1])
        about, part = asked(viewer, "seg", turned, ",".join(map(str, factor[::-1])))
        np.testing.assert_array_equal(part, expected.T)
        assert part.any()
    assert about["maxDownsampling"] == 64 * 2 * 16 * 8
    # half of the last one, made on the fly
    sizes = [-(-n // (2 * f)) for n, f in zip(shape, factor, strict=True)]
    turned = tuple(slice(0, n) for n in sizes[::-1])
    _, part = asked(viewer, "seg", turned, ",".join(map(str, 2 * factor[::-1])))
    np.testing.assert_array_equal(part, stored[-1].T[::2, ::2, ::2])


def test_layers_lie_where_their_files_say(home):
    store = LabelStore(home / "part.precomputed", "precomputed", (40.0, 4.0, 8.0), (3, 2, 1))
    store.make((2, 3, 4), (2, 3, 4))
    viewer = open_viewer({"raw": store.folder}, {"seg": home / "seg.n5", "part": store.folder})
    layers = {one["name"]: one["source"][0] for one in viewer.state.to_json()["layers"]}
    for name in ("raw", "part"):
        matrix = np.array(layers[name]["transform"]["matrix"])
        np.testing.assert_array_equal(matrix, [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3]])
    assert "transform" not in layers["seg"]
    window = (slice(0, 4), slice(0, 3), slice(0, 2))
    assert asked(viewer, "part", window)[1].shape == (4, 3, 2)


def test_floats_and_labels_of_64_bits_are_shown(home):
    tifffile.imwrite(home / "ids.tif", LABELS.astype(np.int64) + 2**40)
    viewer = open_viewer({"raw": home / "floats.tif"}, {"seg": home / "ids.tif"})
    window = (slice(0, 7), slice(0, 6), slice(0, 5))
    about, part = asked(viewer, "seg", window)
    assert about["dataType"] == "uint64"
    np.testing.assert_array_equal(part, LABELS.T.astype(np.uint64) + np.uint64(2**40))
    assert asked(viewer, "raw", window)[0]["dataType"] == "float32"


def test_the_command_prints_the_page_and_ends_at_a_signal(home):
    words = [sys.executable, "-m", "lean3d", "view", home / "seg.n5", "--raw", home / "raw.tif"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("open http://127.0.0.1:")
        url = json.loads(process.stdout.readline())["url"]
        with urllib.request.urlopen(url) as page:
            assert page.status == 200
        process.terminate()
    assert process.returncode == 128 + 15


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs a segmentation"),
        (["gone.zarr"], "does not exist"),
        (["floats.tif"], "give the file of the labels, or --raw"),
        (["seg.n5", "--port", "70000"], "--port is from 0"),
    ],
)
def test_refuses_in_one_sentence(home, monkeypatch, capsys, words, message):
    monkeypatch.chdir(home)
    assert main(["view", *words]) == 2
    assert message in capsys.readouterr().err


def test_labels_with_channels_are_refused(home):
    tifffile.imwrite(home / "rgb.tif", np.zeros((5, 6, 7, 3), np.uint8), photometric="rgb")
    with pytest.raises(LeanError, match="3 channels"):
        open_viewer({}, {"seg": home / "rgb.tif"})
