import json
import os
from dataclasses import replace
from itertools import chain

import nibabel as nib
import numpy as np
import pytest
import torch

from lean3d.errors import DataError, LeanError
from lean3d.limits import check_memory
from lean3d.recipes import get_recipe, prepared
from lean3d.recipes.datasets import volumes
from lean3d.recipes.runs import run


@pytest.fixture
def recipe(tmp_path):
    """Three cases of 2 mm, that a run resamples to 1 mm."""
    random = np.random.default_rng(0)
    for case in range(3):
        label = np.zeros((6, 6, 6), np.uint8)
        label[1:4, 1:4, 1 + case : 4] = 1
        image = (label + random.normal(0, 0.1, label.shape)).astype(np.float32)
        for part, array in (("images", image), ("labels", label)):
            (tmp_path / "data" / part).mkdir(exist_ok=True, parents=True)
            place = tmp_path / "data" / part / f"c{case}.nii.gz"
            nib.save(nib.Nifti1Image(array, np.diag([2, 2, 2, 1])), place)
    small = dict(num_classes=2, in_channels=1, patch=(4, 4, 4), spacing_mm=1.0, widths=(2, 2))
    small |= dict(scaling=(0.0,) * 4, train_samples=4, val_samples=2, epochs=1, batch_size=2)
    return replace(get_recipe("folder"), data=str(tmp_path / "data"), **small)


def test_crops_from_the_cache_are_those_from_memory(recipe, tmp_path, monkeypatch):
    cached = replace(recipe, cache=str(tmp_path / "cache"))
    made = [volume for part in volumes(recipe) for volume in part]
    for _ in range(2):
        for kept, one in zip(chain(*volumes(cached)), made, strict=True):
            assert torch.equal(kept.image, one.image)
            assert torch.equal(kept.label, one.label)
            assert (kept.affine == one.affine).all()
            assert (kept.name, kept.placed) == (one.name, one.placed)
        # the second time no file of the data is read
        monkeypatch.setattr(prepared, "_made", None)


def test_other_settings_and_other_files_are_prepared_anew(recipe, tmp_path):
    cached = replace(recipe, cache=str(tmp_path / "cache"))
    volumes(cached)
    assert len(list((tmp_path / "cache").iterdir())) == 3
    volumes(replace(cached, scaling=(0.0, 1.0, 0.0, 1.0)))
    assert len(list((tmp_path / "cache").iterdir())) == 6
    label = tmp_path / "data" / "labels" / "c0.nii.gz"
    x = np.asarray(nib.load(label).dataobj).copy()
    x[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(x, np.diag([2, 2, 2, 1])), label)
    os.utime(label, ns=(1, 1))
    train, held_out = volumes(cached)
    found = next(v for v in train + held_out if v.name == "c0")
    assert found.label[0, 0, 0] == 1


def test_a_run_reads_from_its_cache_and_one_without_gives_the_same(recipe, tmp_path):
    results = [
        run(one, tmp_path / name, accelerator="cpu", progress=False)
        for name, one in (("a", recipe), ("b", replace(recipe, cache=str(tmp_path / "cache"))))
    ]
    losses = [result["epochs"][0]["val_loss"] for result in results]
    assert losses[0] == losses[1]


def test_a_damaged_cache_is_named_and_an_unfinished_one_made_again(recipe, tmp_path):
    cached = replace(recipe, cache=str(tmp_path / "cache"))
    volumes(cached)
    folder = next((tmp_path / "cache").glob("c1-*"))
    (folder / "facts.json").unlink()
    volumes(cached)
    assert json.loads((folder / "facts.json").read_text())["placed"]
    (folder / "image.npy").write_bytes(b"\x93NUMPY damaged")
    with pytest.raises(DataError, match=r"c1-.* is damaged .* remove it"):
        volumes(cached)
    with pytest.raises(DataError, match="cannot write to the cache"):
        volumes(replace(recipe, cache="/dev/null/cache"))


def test_data_larger_than_memory_are_refused_before_they_are_all_read(recipe, monkeypatch):
    read = []

    def check(what, size, remedy):
        read.append(what)
        check_memory(what, size << 40, remedy)

    monkeypatch.setattr(prepared, "check_memory", check)
    with pytest.raises(LeanError, match=r"2 more scans of .* takes .*PiB.* pass --cache DIR"):
        volumes(recipe)
    assert len(read) == 1
