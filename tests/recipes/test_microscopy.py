import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lean3d.data import Neurites, affinity_targets, read_channels
from lean3d.data.file_crops import FileCrops
from lean3d.data.read import open_scan
from lean3d.errors import LeanError
from lean3d.recipes import get_recipe
from lean3d.recipes.affinity_tiles import fragments_of
from lean3d.recipes.datasets import datasets
from lean3d.recipes.em_files import read_instances
from lean3d.recipes.load import load_run
from lean3d.recipes.microscopy import em_volumes, split_sections, with_scaling
from lean3d.recipes.resolve import resolve
from lean3d.recipes.runs import run

tifffile = pytest.importorskip("tifffile")
SHAPE = (10, 24, 26)
SMALL = dict(
    patch=(4, 16, 16), widths=(4, 8), train_samples=2, val_samples=1, epochs=1, batch_size=1
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    raw, labels = Neurites(shape=SHAPE).draw((0, 0, 0), SHAPE)
    tifffile.imwrite(folder / "raw.tif", raw)
    tifffile.imwrite(folder / "ids.tif", labels)
    edge = np.zeros(SHAPE, bool)
    edge[:, :, 1:] = labels[:, :, 1:] != labels[:, :, :-1]
    tifffile.imwrite(folder / "membranes.tif", np.where(edge, 0, 255).astype(np.uint8))
    return folder


def recipe(stack, name="em_short", labels="ids.tif", **more):
    files = dict(data=str(stack / "raw.tif"), labels=str(stack / labels))
    files |= dict(voxel_nm=(10.0, 10.0, 10.0))
    return replace(get_recipe(name), **files | SMALL | more)


def test_a_volume_without_the_size_of_its_voxels_is_refused(stack, tmp_path):
    with pytest.raises(LeanError, match=r"raw\.tif does not say how large .* --voxel-nm d h w"):
        run(recipe(stack, voxel_nm=None), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_volume_is_opened_once_and_read_once(stack, monkeypatch):
    opened = Counter()

    def counted(path):
        opened[path.name] += 1
        return open_scan(path)

    monkeypatch.setattr("lean3d.recipes.em_files.open_scan", counted)
    monkeypatch.setattr("lean3d.data.read.open_scan", counted)
    resolve(recipe(stack))
    assert opened == {"raw.tif": 2, "ids.tif": 2}


@pytest.mark.parametrize("kind", ["volumes", "sections", "membranes"])
def test_volumes_that_are_too_large_are_read_crop_by_crop(stack, kind, monkeypatch):
    """The samples, targets and settings are those of volumes in memory."""
    h5py = pytest.importorskip("h5py")
    ids = tifffile.imread(stack / "ids.tif").astype(np.uint64)
    ids += (ids > 0) * np.uint64(2**40)
    ids[:, 3] = 2**64 - 1
    with h5py.File(stack / f"{kind}.h5", "w") as file:
        file["raw"], file["ids"] = tifffile.imread(stack / "raw.tif"), ids[2:9, :20]
        for name in file:
            file[name].attrs["resolution"] = (40, 10, 10)
        file["ids"].attrs["offset"] = (80, 0, 0)
    more = dict(data=f"{stack}/{kind}.h5:raw", labels=f"{stack}/{kind}.h5:ids", voxel_nm=None)
    # larger than the held-out sections
    more |= dict(patch=(4, 16, 16), held_out=0.4, train_samples=5, val_samples=3)
    if kind == "sections":
        more |= dict(patch=(16, 30), channels=("y1", "x1"))
    if kind == "membranes":
        more = dict(labels=str(stack / "membranes.tif"), membranes=True, channels=("y1", "x1"))
    own = replace(recipe(stack), **more)
    expected, settings = datasets(resolve(own)), resolve(own)
    monkeypatch.setattr("lean3d.recipes.em_files.free_memory", lambda: 1)
    said = []
    assert resolve(own, say=said.append) == settings
    assert any("crops are read from the files" in line for line in said)
    found = datasets(settings)
    assert isinstance(found[0].samples, FileCrops)
    channels = read_channels(settings.channels)
    for theirs, ours in zip(expected, found, strict=True):
        assert len(theirs) == len(ours)
        for index in (*range(len(ours)), 100):
            (image, label), (same, numbers) = theirs[index], ours[index]
            assert torch.equal(image, same)
            dims = label.ndim
            both = [affinity_targets(one, channels, dims=dims) for one in (label, numbers)]
            assert all(map(torch.equal, *both))
            assert torch.equal(label > 0, numbers > 0)


def test_offsets_longer_than_the_patch_are_refused(stack, tmp_path):
    """Nothing could be learnt of them."""
    recipe(stack, channels=("z1", "y1", "x15")).check()
    for more in (dict(channels=("z4",)), dict(channels=("y16",), patch=(16, 16))):
        with pytest.raises(LeanError, match="within the patch"):
            run(recipe(stack, **more), tmp_path / "run", progress=False)


def test_held_out_sections_are_read_alone(stack):
    own = recipe(stack, held_out=0.3)
    whole = split_sections(em_volumes(own)[0], 0.3)[1]
    (alone,) = em_volumes(own, held_out=True)
    assert torch.equal(whole.image, alone.image)
    channels = read_channels(own.channels)
    both = [affinity_targets(one.label, channels)[0] for one in (whole, alone)]
    assert torch.equal(*both)


def test_trains_on_a_stack_and_loads_again(stack, tmp_path):
    results = run(recipe(stack), tmp_path / "run", progress=False)
    assert results["monitor"] == "val_dice"
    assert {"val_dice_z1", "val_dice_y1", "val_dice_x1"} <= set(results["epochs"][0])
    model, stored = load_run(tmp_path / "run")
    assert model(torch.zeros(1, 1, 4, 16, 16)).shape == (1, 3, 4, 16, 16)
    raw = tifffile.imread(stack / "raw.tif")[:8].astype(float)
    assert stored.scaling == pytest.approx((raw.mean(), raw.std(ddof=1)), abs=1e-3)
    assert (stored.num_classes, stored.in_channels) == (3, 1)


def test_trains_sections_on_membranes(stack, tmp_path):
    flat = recipe(
        stack, "em_sections", "membranes.tif", membranes=True, patch=(16, 16), held_out=0.3
    )
    run(flat, tmp_path / "run", progress=False)
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]
    assert record["num_classes"] == 2
    volume = em_volumes(flat)[0]
    assert not set(volume.label[0].unique().tolist()) & set(volume.label[1].unique().tolist()) - {0}


@pytest.mark.slow
def test_long_range_channels_make_as_many_outputs(stack, tmp_path):
    far = recipe(stack, channels=("z1", "y1", "x1", "x4", "foreground"))
    run(far, tmp_path / "run", progress=False)
    model, _ = load_run(tmp_path / "run")
    assert model(torch.zeros(1, 1, 4, 16, 16)).shape[1] == 5
    longer = run(replace(far, epochs=2), tmp_path / "run", resume=True, progress=False)
    assert len(longer["epochs"]) == 2


@pytest.mark.parametrize(
    ("channels", "sections", "apart"),
    [(("y1", "x1"), False, True), (("z1", "y1", "x1"), False, False), (("z1", "y1"), True, True)],
)
def test_sections_are_decoded_by_themselves_where_no_channel_joins_them(channels, sections, apart):
    run_of = replace(get_recipe("em_short"), channels=channels, sections=sections)
    assert fragments_of(run_of, (50.0, 4.0, 4.0)).sections == apart


def test_the_last_sections_validate(stack):
    volume = em_volumes(recipe(stack))[0]
    train, val = split_sections(volume, 0.3)
    assert (train.image.shape[1], val.image.shape[1]) == (7, 3)
    assert torch.equal(val.label, volume.label[7:])


def test_the_size_of_voxels_is_given_or_that_of_the_file(stack):
    sized = em_volumes(recipe(stack, voxel_nm=(50.0, 4.0, 4.0)))[0]
    np.testing.assert_allclose(sized.spacing, (50e-6, 4e-6, 4e-6))


def test_labels_of_64_bits_are_renumbered_and_unlabelled_voxels_negative(tmp_path):
    labels = np.array([[[0, 7, 2**40, 2**64 - 3]]], np.uint64)
    tifffile.imwrite(tmp_path / "ids.tif", labels, photometric="minisblack")
    assert read_instances(tmp_path / "ids.tif").tolist() == [[[0, 1, 2, -1]]]


def test_thick_sections_are_left_alone_by_the_first_pools(stack, tmp_path):
    thick = recipe(stack, voxel_nm=(50.0, 8.0, 8.0), widths=(4, 4, 4, 4))
    run(thick, tmp_path / "run", progress=False)
    model, stored = load_run(tmp_path / "run")
    assert stored.keep_depth == 3
    assert [pool.kernel_size for pool in model.pools] == [(1, 2, 2)] * 3


def test_a_file_of_cremi_has_sizes_large_ids_and_unlabelled_voxels(tmp_path):
    h5py = pytest.importorskip("h5py")
    path, far = tmp_path / "sample.h5", np.uint64(2**64 - 3)
    ids = np.full((5, 6, 7), 2**40, np.uint64)
    ids[0], ids[1], ids[:, :, 0] = 9, 0, far
    with h5py.File(path, "w") as file:
        raw = np.random.default_rng(0).integers(0, 255, ids.shape).astype(np.uint8)
        for name, values in (("raw", raw), ("labels/neuron_ids", ids)):
            file.create_dataset(f"volumes/{name}", data=values)
            file[f"volumes/{name}"].attrs["resolution"] = (40.0, 4.0, 4.0)
    files = dict(data=f"{path}:volumes/raw", labels=f"{path}:volumes/labels/neuron_ids")
    (volume,) = em_volumes(replace(get_recipe("em_affinities"), **files))
    np.testing.assert_allclose(volume.spacing, (40e-6, 4e-6, 4e-6))
    assert volume.label.unique().tolist() == [-1, 0, 1, 2]
    assert volume.label[0, 0, 1] == 1
    files["labels"] = f"{path}:volumes/labels/gone"
    with pytest.raises(LeanError, match="no dataset volumes/labels/gone"):
        em_volumes(replace(get_recipe("em_affinities"), **files))


def padded(path, ids, offset):
    """A file of CREMI whose labels are of the middle of the image."""
    h5py = pytest.importorskip("h5py")
    raw = np.random.default_rng(0).integers(0, 255, (8, 10, 12)).astype(np.uint8)
    with h5py.File(path, "w") as file:
        for name, values in (("raw", raw), ("labels/neuron_ids", ids)):
            file[f"volumes/{name}"] = values
            file[f"volumes/{name}"].attrs["resolution"] = (40.0, 4.0, 4.0)
        if offset is not None:
            file["volumes/labels/neuron_ids"].attrs["offset"] = offset
    files = dict(data=f"{path}:volumes/raw", labels=f"{path}:volumes/labels/neuron_ids")
    return raw, replace(get_recipe("em_affinities"), **files)


def test_labels_with_an_offset_are_those_of_a_part_of_the_image(tmp_path):
    ids = np.arange(5 * 6 * 7, dtype=np.uint64).reshape(5, 6, 7)
    raw, cremi = padded(tmp_path / "a.h5", ids, (80.0, 12.0, 8.0))
    (volume,) = em_volumes(cremi)
    np.testing.assert_array_equal(volume.image[0].numpy(), raw[2:7, 3:9, 2:9])
    np.testing.assert_array_equal(volume.label.numpy(), ids)
    _, cremi = padded(tmp_path / "corner.h5", ids, (0.0, 0.0, 0.0))
    np.testing.assert_array_equal(em_volumes(cremi)[0].image[0].numpy(), raw[:5, :6, :7])
    elsewhere = {
        "no attribute `offset` says": None,
        "begin at voxel 4, 3, 2": (160.0, 12.0, 8.0),
        "begin at voxel -1, 0, 0": (-40.0, 0.0, 0.0),
    }
    for number, (message, offset) in enumerate(elsewhere.items()):
        _, cremi = padded(tmp_path / f"{number}.h5", ids, offset)
        with pytest.raises(LeanError, match=message) as caught:
            em_volumes(cremi)
        assert len(str(caught.value)) <= 400


def both(path, *, image=None, labels=None, sides=(40.0, 4.0, 4.0)):
    """An image and labels of one shape with these offsets, the labels of voxels of these sizes."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["raw"] = np.random.default_rng(0).integers(0, 255, (8, 10, 12)).astype(np.uint8)
        file["ids"] = np.arange(960).reshape(8, 10, 12)
        for name, offset, size in (("raw", image, (40.0, 4.0, 4.0)), ("ids", labels, sides)):
            file[name].attrs["resolution"] = size
            if offset is not None:
                file[name].attrs["offset"] = offset
    return replace(get_recipe("em_affinities"), data=f"{path}:raw", labels=f"{path}:ids")


def test_labels_of_another_place_are_refused_though_their_shape_is_that_of_the_image(tmp_path):
    here, there = (40.0, 0.0, 0.0), (80.0, 0.0, 0.0)
    for number, places in enumerate([(here, here), (here, None), (None, here)]):
        own = both(tmp_path / f"{number}.h5", image=places[0], labels=places[1])
        assert em_volumes(own)[0].label.shape == (8, 10, 12)
    with pytest.raises(LeanError, match="begin at voxel 1, 0, 0 of it; crop or pad"):
        em_volumes(both(tmp_path / "other.h5", image=here, labels=there))


def test_labels_of_other_voxels_are_refused(tmp_path):
    other = both(tmp_path / "a.h5", sides=(40.0, 8.0, 8.0))
    with pytest.raises(LeanError, match=r"40 x 8 x 8 nm and those of the image .* 40 x 4 x 4 nm"):
        em_volumes(other)
    assert em_volumes(replace(other, voxel_nm=(40.0, 4.0, 4.0)))
    # nothing says which of the arrays the labels are
    for labels in (f"{tmp_path}/a.h5", f"{tmp_path}/a.h5:raw"):
        with pytest.raises(LeanError, match=r"or their name, such as .*neuron_ids"):
            em_volumes(replace(other, labels=labels))


def test_volumes_of_two_folders_are_paired_by_name(tmp_path, stack):
    for name in ("a", "b"):
        both(tmp_path / f"{name}.h5")
    own = replace(get_recipe("em_affinities"), data=f"{tmp_path}:raw", labels=f"{tmp_path}:ids")
    assert [volume.name for volume in em_volumes(own)] == ["a", "b"]
    assert [volume.label.max() for volume in em_volumes(own)] == [959, 959]
    (tmp_path / "ids").mkdir()
    tifffile.imwrite(tmp_path / "ids" / "a_seg.tif", np.arange(960).reshape(8, 10, 12))
    with pytest.raises(LeanError, match=r"has a volume b and .* has none of that name"):
        em_volumes(replace(own, labels=str(tmp_path / "ids")))
    (tmp_path / "b.h5").unlink()
    assert em_volumes(replace(own, labels=str(tmp_path / "ids")))[0].name == "a"
    with pytest.raises(LeanError, match="give two folders, or two files"):
        em_volumes(replace(own, labels=str(tmp_path / "ids" / "a_seg.tif")))
    for data in (f"{tmp_path}:raw", f"{tmp_path}/a.h5:raw", f"{tmp_path}/a.h5", "gone"):
        with pytest.raises(LeanError, match="needs the labels of"):
            em_volumes(replace(own, data=data, labels=None))


@pytest.mark.parametrize("in_files", [False, True])
def test_labels_of_which_nothing_is_learnt_are_refused(stack, tmp_path, monkeypatch, in_files):
    if in_files:
        monkeypatch.setattr("lean3d.recipes.em_files.free_memory", lambda: 1)
    ids = tifffile.imread(stack / "ids.tif").astype(np.int64)
    for part, message in (
        (slice(0, 8), "no instance in the sections to train on"),
        (slice(8, 10), "no labelled voxel in the last sections"),
    ):
        unknown = ids.copy()
        unknown[part] = -1
        tifffile.imwrite(tmp_path / "unknown.tif", unknown)
        with pytest.raises(LeanError, match=message):
            resolve(replace(recipe(stack), labels=str(tmp_path / "unknown.tif")))


def test_membranes_that_are_taken_for_one_instance_are_said(stack):
    said = []
    resolve(recipe(stack, labels="membranes.tif"), say=said.append)
    assert "need --membranes" in " ".join(" ".join(said).split())


def test_one_channel_is_enough(stack, tmp_path):
    results = run(
        recipe(stack, labels="membranes.tif", membranes=True, channels=("boundary",)),
        tmp_path / "run",
        progress=False,
    )
    assert "val_dice_boundary" in results["epochs"][0]
    assert load_run(tmp_path / "run")[0](torch.zeros(1, 1, 4, 16, 16)).shape[1] == 1


def test_a_converted_network_of_ones_own_leaves_thick_sections_alone(stack, tmp_path):
    (tmp_path / "net.py").write_text(TWO_POOLS)
    own = recipe(stack, voxel_nm=(50.0, 4.0, 4.0), widths=None, options=())
    own = replace(own, model=f"{tmp_path}/net.py:Net", convert="inflate")
    # of the three that the sizes ask for it has two
    assert resolve(own).keep_depth == 2
    assert resolve(replace(own, voxel_nm=(8.0, 4.0, 4.0))).keep_depth == 1
    assert resolve(replace(own, keep_depth=0)).keep_depth == 0


TWO_POOLS = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_channels=1, num_classes=3):
        super().__init__(
            nn.Conv2d(in_channels, 4, 3, padding=1), nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2),
            nn.ConvTranspose2d(4, 4, 2, 2), nn.ConvTranspose2d(4, num_classes, 2, 2),
        )
"""


def test_drawn_neurites_need_no_file():
    (volume,) = em_volumes(get_recipe("em_short"))
    assert volume.label.max() > 20
    assert with_scaling(get_recipe("em_short"), [volume]).scaling is not None


def test_the_settings_of_the_paper():
    paper = get_recipe("em_affinities")
    assert paper.epochs * paper.train_samples // paper.batch_size == 300_000
    assert (paper.model, paper.channels) == ("psc_unet", ("z1", "y1", "x1"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(data=""), "needs data"),
        (dict(labels=None), "needs the labels"),
        (dict(channels=("z1", "q")), "channels are names"),
        (dict(patch=(8, 8)), "no offsets along z"),
        (dict(membranes=True), "no offsets along z"),
        (dict(voxel_nm=(1.0,)), "voxel_nm is three"),
        (dict(held_out=1.0), "held_out is a share"),
        (dict(held_out=0.01), "leaves none"),
        (dict(shrink=-1), "shrink must be"),
        (dict(scaling=(1.0,), in_channels=1), "scaling is"),
        (dict(in_channels=2), "pass --in-channels 1"),
        (dict(labels="cut.tif"), "crop or pad"),
        (dict(labels="floats.tif"), "whole number"),
        (dict(labels="gone.tif"), "does not exist"),
    ],
)
def test_refuses_in_one_sentence_and_writes_nothing(stack, tmp_path, change, message):
    tifffile.imwrite(tmp_path / "cut.tif", np.ones((10, 24, 25), np.uint8))
    tifffile.imwrite(tmp_path / "floats.tif", np.ones(SHAPE, np.float32))
    name = change.get("labels", "ids.tif")
    if isinstance(name, str) and name != "ids.tif":
        change = change | dict(labels=str(tmp_path / name))
    wrong = replace(recipe(stack), **change)
    with pytest.raises(LeanError, match=message) as caught:
        run(wrong, tmp_path / "run", progress=False)
    assert len(str(caught.value)) <= 400
    assert not Path(tmp_path / "run").exists()
