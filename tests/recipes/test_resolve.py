"""What a run takes from its data: classes, channels, spacing, crop, intensities."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch

from lean3d.data import Volume, load_volume
from lean3d.data.survey import survey
from lean3d.errors import RunError
from lean3d.recipes import get_recipe, plan
from lean3d.recipes.build import build_model
from lean3d.recipes.datasets import volumes
from lean3d.recipes.intensity import scaled
from lean3d.recipes.resolve import adopt, resolve


def ct(case=0):
    """A body of 40 HU in air, with a liver of 120."""
    x, y = np.mgrid[-16:16, -16:16]
    hu = np.where(x**2 + y**2 < 14**2, 40.0, -1000.0)[..., None].repeat(8, -1)
    label = np.zeros(hu.shape, np.uint8)
    label[10:20, 10:20, 2:6] = 1
    hu[label == 1] = 120
    random = np.random.default_rng(case)
    return np.round(hu + random.normal(0, 10, hu.shape)).astype(np.int16), label


def put(folder, name, image, label, sides=(0.8, 0.8, 3.0)):
    for part, array in (("images", image), ("labels", label)):
        (folder / part).mkdir(exist_ok=True, parents=True)
        nib.save(nib.Nifti1Image(array, np.diag([*sides, 1])), folder / part / f"{name}.nii.gz")


@pytest.fixture
def recipe(tmp_path):
    for case in range(4):
        put(tmp_path, f"c{case}", *ct(case), (0.8, 0.8, 3 + case % 2))
    return replace(get_recipe("folder"), data=str(tmp_path), widths=(4, 8, 8))


def test_all_that_was_left_open_is_found_and_said(recipe):
    lines = []
    done = resolve(recipe, say=lines.append)
    assert (done.num_classes, done.in_channels) == (2, 1)
    assert done.spacing_mm == (3, 0.8, 0.8)
    # two pools of height and width, and depth is left alone
    assert done.patch == (9, 32, 32)
    assert max(len(row) for line in lines for row in line.splitlines()) < 80
    text = " ".join("\n".join(lines).split())
    assert "4 cases" in text
    assert "3 to train on, 1 held out (c" in text
    assert "background 95.1 %, class 1 4.9 %" in text
    assert "8 x 32 x 32 voxels of 3 x 0.8 x 0.8 to 4 x 0.8 x 0.8 mm" in text
    assert done.keep_depth == 2
    assert "the first 2 downsamplings leave it alone" in text


def test_depth_is_kept_only_where_it_can_be(recipe):
    lines = []
    done = resolve(replace(recipe, model="monai:UNet", conv=None, widths=None), say=lines.append)
    assert done.keep_depth == 0
    assert "--keep-depth 2 suits it" in " ".join(" ".join(lines).split())
    flat = replace(recipe, model="unet2d", conv=None, convert="acs")
    assert resolve(flat).keep_depth == 2
    assert resolve(replace(flat, keep_depth=0)).keep_depth == 0


def test_the_proposal_trains(recipe):
    done = resolve(recipe)
    model, _ = build_model(done)[:2]
    x = torch.zeros(1, 1, *done.patch)
    assert model(x).shape == (1, 2, *done.patch)
    assert [pool.kernel_size for pool in model.pools] == [(1, 2, 2), (1, 2, 2)]


def test_what_was_given_stays(recipe):
    given = dict(num_classes=3, patch=(8, 8, 8), spacing_mm=2.0, intensity=("zscore",))
    done = resolve(replace(recipe, **given))
    assert {name: getattr(done, name) for name in given} == given
    assert done.scaling == (0, 0, 0, 0)
    with pytest.raises(RunError, match="pass --in-channels 1"):
        resolve(replace(recipe, in_channels=2))


def test_a_ct_is_scaled_by_the_foreground_of_the_training_set(recipe):
    low, high, mean, deviation = resolve(recipe).scaling
    assert mean == pytest.approx(120, abs=1)
    assert deviation == pytest.approx(10, abs=1)
    assert 90 < low < 97
    assert 143 < high < 150


def test_a_scan_and_a_crop_of_it_have_the_same_values_in_a_run(recipe, tmp_path):
    done = resolve(recipe)
    hu, _ = ct()
    for name, array in (("whole", hu), ("crop", hu[8:24, 8:24])):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    whole, crop = (
        scaled(done, load_volume(tmp_path / f"{name}.nii.gz")).image for name in ("whole", "crop")
    )
    assert (crop == whole[:, :, 8:24, 8:24]).all()


def test_a_window_of_hu_is_scaled_to_one(recipe):
    done = resolve(replace(recipe, hu=(-200.0, 250.0)))
    assert done.scaling == (-200, 250, -200, 450)
    train, _ = volumes(done)
    assert train[0].image.min() == 0
    assert 0.6 < train[0].image.max() < 1


def test_names_in_dataset_json_decide_what_is_a_ct(recipe, tmp_path):
    about = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "liver": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    done = resolve(recipe)
    assert done.scaling == (0, 0, 0, 0)
    assert done.names == ("background", "liver")


def test_channels_that_dataset_json_does_not_name_are_refused(recipe, tmp_path):
    about = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "liver": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"names 2 channels \(CT, PET\) and its images have 1"):
        resolve(recipe)


@pytest.mark.parametrize("num_classes", [0, 2])
def test_labels_of_background_alone_are_refused(recipe, tmp_path, num_classes):
    for case in range(4):
        image, label = ct(case)
        put(tmp_path, f"c{case}", image, 0 * label)
    with pytest.raises(ValueError, match="there is nothing to learn"):
        resolve(replace(recipe, num_classes=num_classes))


def test_a_label_without_a_class_is_refused(recipe, tmp_path):
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    image, label = ct()
    put(tmp_path, "c9", image, label * 2)
    with pytest.raises(ValueError, match=r"c9\.nii\.gz holds the labels 0, 2 where 0 to 1"):
        resolve(recipe)


def test_masks_of_0_and_255_have_two_classes(tmp_path):
    random = np.random.default_rng(0)
    for case in "ab":
        for part in ("images", "labels"):
            (tmp_path / part).mkdir(exist_ok=True)
        stack = random.integers(0, 200, (6, 16, 16), dtype=np.uint8)
        tifffile.imwrite(tmp_path / "images" / f"{case}.tif", stack)
        tifffile.imwrite(tmp_path / "labels" / f"{case}.tif", np.uint8(255 * (stack > 99)))
    lines = []
    done = resolve(replace(get_recipe("folder"), data=str(tmp_path)), say=lines.append)
    assert (done.num_classes, done.label_values) == (2, (0, 255))
    assert done.spacing_mm is None
    assert any("0 as 0, 255 as 1" in line for line in lines)
    train, _ = volumes(done)
    assert train[0].label.unique().tolist() == [0, 1]


def test_numbers_that_are_no_classes_are_refused_and_can_be_named(recipe, tmp_path):
    for case in range(4):
        image, label = ct(case)
        put(tmp_path, f"c{case}", image, np.int16(label) * 700)
    with pytest.raises(RunError, match=r"are 0, 700 \(700 in c.\).* --label-values 0 700"):
        resolve(recipe)
    # as the sentence says, without --num-classes
    named = replace(recipe, label_values=(0, 700))
    named.check()
    done = resolve(named)
    assert done.num_classes == 2
    assert volumes(done)[0][0].label.max() == 1


def test_numbers_for_each_class_and_channel_wait_for_the_data(recipe):
    given = replace(recipe, class_weights=(1.0, 5.0), scaling=(-160.0, 240.0, 40.0, 80.0))
    given.check()
    done = resolve(given)
    assert (done.class_weights, done.scaling) == (given.class_weights, given.scaling)
    with pytest.raises(RunError, match="class_weights has 1 number for each class, 2 in all, got"):
        resolve(replace(recipe, class_weights=(1.0, 1.0, 5.0)))
    with pytest.raises(RunError, match="scaling has 4 numbers for each channel, 4 in all, got"):
        resolve(replace(recipe, scaling=given.scaling * 2))


def test_a_number_without_those_before_it_is_refused(recipe, tmp_path):
    image, label = ct()
    put(tmp_path, "c3", image, label * 7)
    with pytest.raises(RunError, match=r"\(7 in c3\), not 0, 1, 2, .*--num-classes 8 if"):
        resolve(recipe)
    assert resolve(replace(recipe, num_classes=8)).num_classes == 8


def test_the_only_case_is_split_into_slabs(tmp_path):
    image, label = ct()
    put(tmp_path, "only", image, label)
    done = resolve(replace(get_recipe("folder"), data=str(tmp_path), held_out=0.3))
    (train,), (held_out,) = volumes(done)
    assert (train.name, held_out.name) == ("only_train", "only_held_out")
    assert held_out.label.any()


def test_the_split_of_published_data_is_kept(tmp_path):
    (tmp_path / "nodule").mkdir()
    voxel = np.random.default_rng(0).integers(0, 255, (8, 8, 8)).astype(np.uint8)
    for name in "abc":
        np.savez(tmp_path / "nodule" / f"{name}.npz", voxel=voxel, answer1=voxel > 200)
    (tmp_path / "train_test_split.csv").write_text("train,test\na.npz,b.npz\nc.npz,\n")
    done = resolve(replace(get_recipe("folder"), data=f"lidc:{tmp_path}"))
    train, held_out = volumes(done)
    assert [volume.name for volume in (*train, *held_out)] == ["a", "c", "b"]
    assert done.names == ("background", "nodule")
    assert (train[0].label.numpy() == (voxel > 200)).all()


def test_a_resumed_run_keeps_what_its_data_decided(recipe):
    done = resolve(recipe)
    assert adopt(recipe, done) == done
    other = replace(recipe, patch=(4, 4, 4))
    assert adopt(other, done) == replace(done, patch=(4, 4, 4))


def stacks(shape, sides):
    image, label = np.random.default_rng(0).normal(size=(1, *shape)), np.ones(shape)
    from torch import from_numpy

    volume = Volume(from_numpy(image), from_numpy(label).long(), np.diag([*sides, 1.0]), "x")
    return survey([volume])


@pytest.mark.parametrize(
    ("shape", "sides", "pools", "expected"),
    [
        ((100, 100, 100), (1, 1, 1), 3, (64, 64, 64)),
        # thick slices: as long in mm along all axes
        ((60, 300, 300), (5, 1, 1), 3, (24, 112, 112)),
        # few slices: all of them, and more of the others
        ((8, 300, 300), (1, 1, 1), 2, (8, 180, 180)),
        # small scans: all of them, padded to what the pools divide
        ((10, 20, 30), (1, 1, 1), 3, (16, 24, 32)),
    ],
)
def test_a_crop_is_as_long_along_all_axes_as_the_scans_allow(shape, sides, pools, expected):
    assert plan.patch(stacks(shape, sides), None, pools) == expected


@pytest.mark.parametrize(
    ("sides", "kept"), [((1, 1, 1), 0), ((1.3, 1, 1), 0), ((2, 1, 1), 1), ((5, 0.8, 0.8), 3)]
)
def test_downsamplings_leave_thick_slices_alone(sides, kept):
    assert plan.keep_depth(sides) == kept
