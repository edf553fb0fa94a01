from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from lean3d.errors import DataError, RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.datasets import datasets, loaders, volumes


@pytest.fixture
def cases(tmp_path):
    """Five cases of 8 voxels a side, in which case i has mean 10 i."""
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for case in range(5):
        image = random.normal(10 * case, 1, (8, 8, 8)).astype(np.float32)
        label = (image > 10 * case).astype(np.uint8)
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "images" / f"case{case}.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / "labels" / f"case{case}.nii.gz")
    return tmp_path


@pytest.fixture
def recipe(cases):
    small = dict(
        num_classes=2, in_channels=1, patch=(4, 4, 4), train_samples=6, val_samples=4, batch_size=2
    )
    return replace(get_recipe("folder"), data=str(cases), **small)


def test_cases_are_trained_on_or_held_out_never_both(recipe):
    train, held_out = ([v.name for v in part] for part in volumes(replace(recipe, held_out=0.4)))
    assert (len(train), len(held_out)) == (3, 2)
    assert sorted(train + held_out) == [f"case{i}" for i in range(5)]


def test_the_seed_decides_which_cases_are_held_out(recipe):
    choices = {volumes(replace(recipe, seed=seed))[1][0].name for seed in range(8)}
    assert len(choices) > 1
    assert volumes(recipe)[1][0].name == volumes(recipe)[1][0].name


def test_volumes_are_normalised(recipe):
    train, held_out = volumes(recipe)
    for volume in train + held_out:
        assert abs(volume.image.mean()) < 1e-4


def test_training_batches_change_with_the_epoch_and_validation_batches_do_not(recipe):
    train, val = loaders(recipe)
    first, again = (torch.cat([x for x, _ in val]) for _ in range(2))
    assert torch.equal(first, again)
    epochs = []
    for epoch in range(2):
        train.sampler.set_epoch(epoch)
        epochs.append(torch.cat([x for x, _ in train]))
    assert not torch.equal(*epochs)
    assert epochs[0].shape == (6, 1, 4, 4, 4)


def test_two_patch_sizes_mean_slices(recipe):
    x, y = datasets(replace(recipe, patch=(4, 6)))[0][0]
    assert (x.shape, y.shape) == ((1, 4, 6), (4, 6))


def test_the_shapes_of_validation_are_not_those_of_training():
    recipe = replace(get_recipe("shapes2d"), train_samples=3, val_samples=2)
    train, val = datasets(recipe)
    assert (len(train), len(val)) == (3, 2)
    assert not torch.equal(train[0][0], val[0][0])


def test_the_brain_is_split_front_and_back():
    train, held_out = volumes(get_recipe("brain3d"))
    behind, front = ((v[0].affine @ [0, 0, 0, 1])[1] for v in (train, held_out))
    assert front > behind + train[0].image.shape[2] * 2


def test_few_blocks_are_all_that_is_trained_on_and_nothing_less_is_held_out():
    recipe = get_recipe("brain3d")
    whole, few = volumes(recipe), volumes(replace(recipe, blocks=3))
    assert [block.label.shape for block in few[0]] == [recipe.patch] * 3
    assert torch.equal(few[1][0].label, whole[1][0].label)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(data=""), "--data"),
        (dict(in_channels=2), "--in-channels 1"),
        (dict(held_out=1.0), "between 0 and 1"),
        (dict(data="shapes3d"), "6 classes"),
        (dict(data="shapes3d", num_classes=6, patch=(32, 32, 30)), r"such as \(48, 48, 48\)"),
        (dict(data="shapes3d", num_classes=6, patch=(24, 24)), "of 3 equal sides"),
        (dict(data="shapes3d", num_classes=6, patch=(8, 8, 8)), "10 or more, got 8"),
    ],
)
def test_refuses_data_that_do_not_fit(recipe, bad, message):
    with pytest.raises((RunError, DataError), match=message):
        loaders(replace(recipe, **bad))


def test_an_empty_folder_is_refused(recipe, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        loaders(replace(recipe, data=str(tmp_path / "empty")))
