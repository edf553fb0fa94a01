"""lean3d segment on volumes, one of drawn neurites, with a network of a few steps."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lean3d.cli.main import main
from lean3d.data import Neurites
from lean3d.data.read import open_scan
from lean3d.errors import LeanError
from lean3d.infer import components
from lean3d.metrics import instance_scores
from lean3d.recipes import get_recipe
from lean3d.recipes.neurons import SegmentSettings, segment_volume
from lean3d.recipes.runs import run

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")
pytest.importorskip("bioimage_cpp")
SHAPE = (12, 40, 44)
# more than labels of 32 bits hold
FAR = np.uint64(2**40)
NET = Path(__file__).parent / "neuron_net.py"
SETTINGS = SegmentSettings(thresholds=(0.3, 0.5, 0.7))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neurons")
    raw, labels = Neurites(shape=SHAPE, seed=5).draw((0, 0, 0), SHAPE)
    tifffile.imwrite(folder / "raw.tif", raw)
    tifffile.imwrite(folder / "ids.tif", labels)
    tifffile.imwrite(folder / "cut.tif", labels[1:])
    tifffile.imwrite(folder / "rgb.tif", np.zeros((12, 40, 44, 3), np.uint8), photometric="rgb")
    with h5py.File(folder / "em.h5", "w") as file:
        file["volumes/raw"], file["volumes/ids"] = (
            raw,
            labels.astype(np.uint64) + (labels > 0) * FAR,
        )
        file["volumes/raw"].attrs["resolution"] = (10, 10, 10)
    floats = raw.astype(np.float32)
    floats[3, 4, 5] = np.nan
    tifffile.imwrite(folder / "holes.tif", floats)
    tifffile.imwrite(folder / "membranes.tif", np.where(labels % 3, 255, 0).astype(np.uint8))
    files = dict(data=str(folder / "raw.tif"), labels=str(folder / "ids.tif"))
    # the weights are right before training, so nothing is learnt
    small = dict(patch=(8, 16, 16), widths=None, train_samples=1, val_samples=1, epochs=1, lr=0.0)
    model = dict(model=f"{NET}:BrightNet", options=())
    common = files | small | model | dict(batch_size=1, voxel_nm=(10.0, 10.0, 10.0))
    run(replace(get_recipe("em_short"), **common), folder / "run", progress=False)
    flat = common | dict(patch=(16, 16), model=f"{NET}:flat")
    run(replace(get_recipe("em_sections"), **flat), folder / "flat", progress=False)
    far = common | dict(channels=("z1", "y1", "x1", "x5", "y5", "boundary"))
    run(replace(get_recipe("em_short"), **far), folder / "far", progress=False)
    return folder


def read(path):
    return zarr.open_array(path / "0", mode="r")[:]


def segmented(home, out, name="run", settings=SETTINGS, **more):
    found = segment_volume(home / name, home / "raw.tif", out, settings, **more)
    return found, read(out)


@pytest.mark.parametrize(
    "name", ["flat", *(pytest.param(name, marks=pytest.mark.slow) for name in ("run", "far"))]
)
def test_blocks_and_tiles_do_not_change_the_segmentation(home, tmp_path, name):
    whole, expected = segmented(home, tmp_path / "whole", name)
    parts = replace(SETTINGS, block=(5, 16, 20), smallest=0)
    found, labels = segmented(home, tmp_path / "blocks", name, parts)
    assert found == whole
    np.testing.assert_array_equal(labels, expected)
    assert labels.shape == SHAPE
    assert labels.max() == found.instances > 1
    tiles = replace(SETTINGS, tile=(4, 16, 16))
    _, tiled = segmented(home, tmp_path / "tiles", name, tiles)
    # affinities of other windows differ in the last digit, and may round to another level
    assert instance_scores(tiled, expected, ignored=()).vi < 0.2


def test_the_command_prints_scores_and_writes_an_image_with_its_size(home, tmp_path, capsys):
    out = tmp_path / "seg.zarr"
    files = [str(home / "run"), str(home / "raw.tif"), "--out", str(out)]
    more = [
        "--labels",
        str(home / "ids.tif"),
        "--thresholds",
        "0.3",
        "0.6",
        "--block",
        "6",
        "40",
        "44",
    ]
    assert main(["segment", *files, *more]) == 0
    *table, last = capsys.readouterr().out.strip().splitlines()
    record = json.loads(last)
    assert [row["threshold"] for row in record["scores"]] == [0.3, 0.6]
    best = min(record["scores"], key=lambda row: row["VI"])
    assert record["threshold"] == best["threshold"]
    truth = tifffile.imread(home / "ids.tif")
    assert instance_scores(read(out), truth).vi == pytest.approx(best["VI"], abs=1e-4)
    assert "neurons of" in table[-1]
    (image,) = zarr.open_group(out, mode="r").attrs["ome"]["multiscales"]
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [10.0, 10.0, 10.0]
    assert not (tmp_path / "seg.zarr.work").exists()
    scan = open_scan(out)
    assert scan.grid.shape == SHAPE
    np.testing.assert_allclose(scan.grid.spacing, (1e-5, 1e-5, 1e-5))


def test_membrane_labels_are_cells_of_whole_sections(home, tmp_path):
    flat = json.loads((home / "flat" / "recipe.json").read_text())
    flat["recipe"]["membranes"] = True
    other = tmp_path / "flat"
    other.mkdir()
    (other / "recipe.json").write_text(json.dumps(flat))
    (other / "checkpoints").symlink_to(home / "flat" / "checkpoints")
    scores = []
    for block in ((12, 40, 44), (5, 16, 20)):
        settings = replace(SETTINGS, block=block)
        out, truth = tmp_path / str(block[0]), home / "membranes.tif"
        scores.append(segment_volume(other, home / "raw.tif", out, settings, labels=truth).scores)
    assert {t: round(s.vi, 9) for t, s in scores[0].items()} == {
        t: round(s.vi, 9) for t, s in scores[1].items()
    }


def test_the_mutex_watershed_and_background(home, tmp_path):
    mutex = replace(SETTINGS, method="mutex", smooth=0.5, thresholds=None)
    found, labels = segmented(home, tmp_path / "mutex", "far", mutex)
    assert found.threshold is None
    assert labels.max() == found.instances
    bare = replace(SETTINGS, fill=False, inside=0.6, smallest=20)
    _, emptied = segmented(home, tmp_path / "bare", "run", bare)
    assert (emptied == 0).any()


def test_connected_components_by_the_command(home, tmp_path, capsys):
    files = [str(home / "run"), str(home / "raw.tif"), "--labels", str(home / "ids.tif")]
    more = ["--method", "components", "--keep", "--out"]
    found = []
    for name, block in (("whole", SHAPE), ("parts", (5, 16, 20))):
        words = [*files, "--block", *map(str, block), *more, str(tmp_path / name)]
        assert main(["segment", *words]) == 0
        found.append(json.loads(capsys.readouterr().out.strip().splitlines()[-1]))
    assert [row["threshold"] for row in found[0]["scores"]] == [0.5]
    assert found[0]["scores"] == found[1]["scores"]
    labels = read(tmp_path / "whole")
    np.testing.assert_array_equal(labels, read(tmp_path / "parts"))
    affinity = zarr.open_array(tmp_path / "whole.work" / "affinities", mode="r")[:]
    offsets = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
    assert instance_scores(labels, components(affinity, offsets), ignored=()).vi < 1e-9
    # with another threshold nothing of the folder can be used
    (tmp_path / "whole").rename(tmp_path / "other")
    settings = SegmentSettings(method="components", thresholds=(0.4,), block=SHAPE)
    with pytest.raises(LeanError, match="begun with another threshold"):
        segmented(home, tmp_path / "whole", settings=settings)


def test_goes_on_in_a_kept_folder_and_refuses_other_settings(home, tmp_path):
    _, first = segmented(home, tmp_path / "seg", keep=True)
    work = tmp_path / "seg.work"
    assert len(list((work / "done" / "affinities").iterdir())) >= 1
    (tmp_path / "seg").rename(tmp_path / "first")
    (work / "done" / "segmentation" / "0").unlink()
    with pytest.raises(LeanError, match="begun with another block"):
        segmented(home, tmp_path / "seg", settings=replace(SETTINGS, block=(6, 40, 44)))
    _, again = segmented(home, tmp_path / "seg")
    np.testing.assert_array_equal(first, again)
    assert not work.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(run="gone"), "no run folder"),
        (dict(volume="gone.tif"), "does not exist"),
        (dict(volume="rgb.tif"), "3 channels"),
        (dict(labels="cut.tif"), "11 x 40 x 44"),
        (dict(out="no/seg"), "no folder"),
        (dict(out="run"), "exists already"),
        (dict(settings=dict(block=(13, 40, 44))), "does not fit"),
        (dict(settings=dict(block=(1, 1))), "three sizes"),
        (dict(settings=dict(tile=(0, 1, 1))), "three sizes"),
        (dict(settings=dict(thresholds=())), "got none"),
        (dict(settings=dict(thresholds=(2.0,))), "threshold is a number"),
        (dict(settings=dict(inside=-1.0)), "threshold is a number"),
        (dict(settings=dict(method="mutex", thresholds=None)), "long-range"),
        (dict(settings=dict(method="mutex")), "leave --thresholds out"),
        (dict(settings=dict(method="components")), "got 0.3, 0.5, 0.7; give one"),
        (
            dict(settings=dict(method="components", thresholds=None, linkage="max")),
            "leave --linkage out",
        ),
    ],
)
def test_refuses_in_one_sentence(home, change, message):
    settings = replace(SETTINGS, **change.get("settings", {}))
    run_folder, volume = home / change.get("run", "run"), home / change.get("volume", "raw.tif")
    labels = home / change["labels"] if "labels" in change else None
    out = home / change.get("out", "refused")
    with pytest.raises(LeanError, match=message) as caught:
        segment_volume(run_folder, volume, out, settings, labels=labels)
    assert len(str(caught.value)) <= 400
    assert not (home / "refused").exists()
    assert not (home / "refused.work").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["em.h5:volumes/gone"], "no dataset volumes/gone; there are: volumes/ids, volumes/raw"),
        (["em.h5:volumes/ids", "--labels", "cut.tif"], "11 x 40 x 44"),
        (["raw.tif", "--labels", "holes.tif"], "one whole number for each voxel"),
        (["raw.tif", "--block", "12", "40", "45"], "12 x 40 x 45 voxels does not fit"),
        (["raw.tif", "--voxel-nm", "10", "0", "10"], "voxel_nm is three sizes above 0"),
        (["raw.tif", "--voxel-nm", "1e-9", "1", "1"], "spacing is a number 0.001 or more"),
        (["raw.tif", "--smooth", "1e9"], "smooth is a number 0 or more and at most 100"),
        (["raw.tif", "--smallest", "-5"], "smallest"),
        (["raw.tif", "--tile", "a", "2"], "--tile is [INT [INT ...]], got 'a', '2'"),
        (["raw.tif", "--thresholds", "x"], "--thresholds is [FLOAT [FLOAT ...]], got 'x'"),
        (["raw.tif", "--scheduler", "a", "--scheduler", "b"], "no dask scheduler at 'b'"),
        (["raw.tif", "--workers", "0"], "--workers is 1 or more"),
        (["raw.tif", "--workers", "2", "--scheduler", "x"], "a --scheduler has its own"),
        (["holes.tif"], "holds NaN or infinity"),
    ],
)
def test_the_command_refuses_in_one_sentence(home, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(home)
    volume, *more = words
    assert main(["segment", "run", volume, "--out", str(tmp_path / "seg"), *more]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert len(line) <= 420
    assert not (tmp_path / "seg").exists()


def test_ids_above_32_bits_are_scored_as_others(home, tmp_path):
    ids = (str(home / "em.h5") + ":volumes/ids", home / "ids.tif")
    found = [
        segment_volume(home / "run", home / "raw.tif", tmp_path / str(n), SETTINGS, labels=labels)
        for n, labels in enumerate(ids)
    ]
    assert found[0] == found[1]


def test_labels_of_a_part_are_scored_there(home, tmp_path):
    """Labels with an offset score as labels of the whole that are unknown elsewhere."""
    ids = tifffile.imread(home / "ids.tif").astype(np.int64)
    part = tuple(slice(first, last) for first, last in ((3, 9), (10, 33), (0, 20)))
    elsewhere = np.full(ids.shape, -1)
    elsewhere[part] = ids[part]
    tifffile.imwrite(tmp_path / "elsewhere.tif", elsewhere)
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["ids"] = ids[part]
        file["ids"].attrs["resolution"] = (10, 10, 10)
        file["ids"].attrs["offset"] = (30, 100, 0)
    settings = replace(SETTINGS, block=(5, 16, 20))
    found = [
        segment_volume(home / "run", home / "raw.tif", tmp_path / name, settings, labels=labels)
        for name, labels in (("a", tmp_path / "part.h5"), ("b", tmp_path / "elsewhere.tif"))
    ]
    assert found[0] == found[1]
    assert len(found[0].scores) == 3


def test_a_volume_of_hdf5_is_read_where_it_lies(home, tmp_path):
    _, expected = segmented(home, tmp_path / "tif")
    volume = f"{home / 'em.h5'}:volumes/raw"
    segment_volume(home / "run", volume, tmp_path / "h5", SETTINGS, keep=True)
    np.testing.assert_array_equal(read(tmp_path / "h5"), expected)
    assert not (tmp_path / "h5.work" / "raw").exists()


def test_leaves_a_folder_alone_that_is_in_the_way(home, tmp_path):
    (tmp_path / "seg.work").mkdir()
    (tmp_path / "seg.work" / "thesis.txt").write_text("mine")
    with pytest.raises(LeanError, match="is in the way"):
        segmented(home, tmp_path / "seg")
    assert (tmp_path / "seg.work" / "thesis.txt").read_text() == "mine"


def test_a_kept_folder_gives_the_segmentation_again_and_again(home, tmp_path):
    """The voxels were moved away, and the marks of their blocks stayed: all voxels were 0."""
    first, expected = segmented(home, tmp_path / "a", keep=True)
    (tmp_path / "a").rename(tmp_path / "b")
    again, labels = segmented(home, tmp_path / "a", keep=True)
    np.testing.assert_array_equal(labels, expected)
    assert (again, labels.max()) == (first, first.instances)
    (tmp_path / "a").rename(tmp_path / "c")
    # merges of another threshold need nothing but the graph
    other, labels = segmented(home, tmp_path / "a", settings=replace(SETTINGS, thresholds=(0.6,)))
    assert labels.max() == other.instances < first.instances


def test_other_labels_are_counted_again(home, tmp_path):
    tifffile.imwrite(tmp_path / "ids.tif", np.arange(12 * 40 * 44).reshape(SHAPE) // 3000)
    expected, _ = segmented(home, tmp_path / "whole", labels=tmp_path / "ids.tif")
    for labels in (home / "ids.tif", tmp_path / "ids.tif"):
        found, _ = segmented(home, tmp_path / "seg", labels=labels, keep=True)
        (tmp_path / "seg").rename(tmp_path / labels.parent.name)
    assert found == expected
    # stopped in the middle of the segmentation
    (tmp_path / "seg.work" / "segmentation").mkdir()
    found, _ = segmented(home, tmp_path / "seg", labels=home / "ids.tif")
    assert found.scores.keys() == expected.scores.keys()
    assert found != expected


OTHERS = [pytest.param(ending, marks=pytest.mark.slow) for ending in ("n5", "precomputed")]


@pytest.mark.parametrize("ending", ["zarr", *OTHERS])
def test_a_segmentation_is_at_the_place_of_its_volume(home, tmp_path, ending):
    raw = tifffile.imread(home / "raw.tif")
    with h5py.File(tmp_path / "em.h5", "w") as file:
        file["raw"], file["ids"] = raw, tifffile.imread(home / "ids.tif")[2:7, 3:, :30]
        for name, offset in (("raw", (80, 40, 30)), ("ids", (120, 52, 30))):
            file[name].attrs.update(resolution=(20, 4, 5), offset=offset)
    out = tmp_path / f"seg.{ending}"
    volume, labels = f"{tmp_path}/em.h5:raw", f"{tmp_path}/em.h5:ids"
    settings = replace(SETTINGS, block=(5, 16, 20))
    found = segment_volume(home / "run", volume, out, settings, labels=labels)
    scan = open_scan(out)
    assert scan.first == (4, 10, 6)
    assert scan.grid.spacing == pytest.approx((20e-6, 4e-6, 5e-6))
    assert scan.load(slice(None)).max() == found.instances
    # so that it can be the labels of that volume, or of a part of it
    own = segment_volume(home / "run", volume, tmp_path / "again", settings, labels=out)
    assert min(score.vi for score in own.scores.values()) < 1e-9


def test_what_is_damaged_in_the_folder_of_the_work_is_one_sentence(home, tmp_path):
    work = tmp_path / "seg.work"
    segmented(home, tmp_path / "seg", keep=True)
    (tmp_path / "seg").rename(tmp_path / "whole")
    for name in ("numbering.npz", "done/fragments/0"):
        (work / name).unlink()
    (chunk,) = (work / "affinities" / "c").rglob("0/0/0/0")
    chunk.write_bytes(b"nonsense")
    with pytest.raises(LeanError, match=r"affinities cannot be read .*delete the folder") as caught:
        segmented(home, tmp_path / "seg")
    assert len(str(caught.value)) <= 400
    (work / "done" / "fragments" / "0").touch()
    (work / "fragments" / "0.npz").write_bytes(b"")
    with pytest.raises(LeanError, match=r"fragments/0\.npz cannot be read .*delete the folder"):
        segmented(home, tmp_path / "seg")
    (work / "settings.json").write_text("{")
    with pytest.raises(LeanError, match=r"settings\.json is damaged"):
        segmented(home, tmp_path / "seg")


def test_a_volume_that_changed_is_another(home, tmp_path):
    tifffile.imwrite(tmp_path / "raw.tif", tifffile.imread(home / "raw.tif"))
    segment_volume(home / "run", tmp_path / "raw.tif", tmp_path / "seg", SETTINGS, keep=True)
    (tmp_path / "seg").rename(tmp_path / "whole")
    tifffile.imwrite(tmp_path / "raw.tif", np.flip(tifffile.imread(home / "raw.tif"), 0))
    with pytest.raises(LeanError, match="begun with another volume"):
        segment_volume(home / "run", tmp_path / "raw.tif", tmp_path / "seg", SETTINGS)


def test_a_full_disk_between_the_blocks_is_one_sentence(home, tmp_path, monkeypatch):
    def full(*given, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lean3d.infer.segment_blocks.save_table", full)
    monkeypatch.setattr("lean3d.infer.segment_blocks._save_numbers", lambda *given: None)
    monkeypatch.setattr("lean3d.infer.segment_blocks._links", lambda *given: None)
    monkeypatch.setattr("lean3d.infer.segment_blocks.load_table", lambda *given: [np.zeros(0)] * 2)
    with pytest.raises(LeanError, match=r"cannot write .*No space left on device; .* goes on"):
        segmented(home, tmp_path / "seg")


@contextmanager
def files_of_at_most(size):
    """A disk on which no file becomes larger: writes fail as on a full one."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("ending", ["zarr", "n5", "precomputed"])
def test_a_full_disk_is_one_sentence_and_the_command_goes_on(home, tmp_path, capsys, ending):
    out, work = tmp_path / f"seg.{ending}", tmp_path / f"seg.{ending}.work"
    words = ["segment", str(home / "run"), str(home / "raw.tif"), "--out", str(out), "--keep"]

    def refused(size):
        with files_of_at_most(size):
            assert main(words) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "File too large" in line
        assert "goes on from there" in line
        assert len(line) <= 420
        assert not out.exists()

    refused(4000)
    assert main(words) == 0
    expected = open_scan(out).load(slice(None))
    # again from the last stage
    out.rename(work / "segmentation")
    for mark in (work / "done" / "segmentation").iterdir():
        mark.unlink()
    capsys.readouterr()
    refused(1000)
    assert main(words) == 0
    np.testing.assert_array_equal(open_scan(out).load(slice(None)), expected)


def test_refuses_a_volume_without_the_size_of_its_voxels(home, tmp_path):
    record = json.loads((home / "run" / "recipe.json").read_text())
    record["recipe"]["voxel_nm"] = None
    other = tmp_path / "run"
    other.mkdir()
    (other / "recipe.json").write_text(json.dumps(record))
    (other / "checkpoints").symlink_to(home / "run" / "checkpoints")
    with pytest.raises(LeanError, match="pass --voxel-nm"):
        segment_volume(other, home / "raw.tif", tmp_path / "seg", SETTINGS)


@pytest.mark.slow
@pytest.mark.usefixtures("few_backends")
def test_optimized_networks_give_the_same_segmentation(home, tmp_path, capsys):
    _, expected = segmented(home, tmp_path / "plain")
    files = [str(home / "run"), str(home / "raw.tif"), "--out", str(tmp_path / "fast")]
    assert main(["segment", *files, "--optimize", "--thresholds", "0.3", "0.5", "0.7"]) == 0
    assert "the network runs by" in capsys.readouterr().err
    np.testing.assert_array_equal(read(tmp_path / "fast"), expected)
