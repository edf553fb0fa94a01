import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from lean3d.errors import RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.cases import split_cases
from lean3d.recipes.runs import run


def add(folder, name):
    random = np.random.default_rng(len(name))
    for part, dtype in (("images", np.float32), ("labels", np.uint8)):
        (folder / part).mkdir(exist_ok=True)
        x = random.integers(0, 2, (8, 8, 8)).astype(dtype)
        nib.save(nib.Nifti1Image(x, np.eye(4)), folder / part / f"{name}.nii.gz")


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "data").mkdir()
    for case in range(7):
        add(tmp_path / "data", f"c{case}")
    return replace(get_recipe("folder"), data=str(tmp_path / "data"), patch=(8, 8, 8))


def test_every_case_is_held_out_in_one_fold(recipe):
    splits = [split_cases(replace(recipe, fold=fold, folds=3)).names() for fold in range(3)]
    held_out = [name for split in splits for name in split["held_out"]]
    assert sorted(held_out) == [f"c{i}" for i in range(7)]
    assert sorted(len(split["held_out"]) for split in splits) == [2, 2, 3]
    for split in splits:
        assert sorted(split["train"] + split["held_out"]) == sorted(held_out)


@pytest.mark.parametrize("settings", [dict(fold=5), dict(fold=-1), dict(fold=0, folds=1)])
def test_odd_folds_are_refused(recipe, settings):
    with pytest.raises(RunError, match="fold"):
        replace(recipe, **settings).check()


def test_more_folds_than_cases_are_refused(recipe):
    with pytest.raises(RunError, match="7 labelled case"):
        split_cases(replace(recipe, fold=0, folds=8))


def test_a_resumed_run_keeps_its_split_when_cases_are_added(recipe, tmp_path):
    small = replace(recipe, widths=(2, 2), epochs=1, train_samples=1, val_samples=1, batch_size=1)
    run(small, tmp_path / "run", accelerator="cpu", progress=False)
    before = json.loads((tmp_path / "run" / "recipe.json").read_text())["split"]
    assert before == split_cases(small).names()
    add(tmp_path / "data", "a_new_case")
    run(replace(small, epochs=2), tmp_path / "run", resume=True, accelerator="cpu", progress=False)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["split"] == before
    assert "a_new_case" in str(split_cases(small).names())


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"train": ["c0", "gone"], "held_out": ["c1"]}, "no case gone"),
        ({"train": ["c0"]}, "damaged"),
        ({"train": ["c0"], "held_out": [3]}, "damaged"),
        ([], "damaged"),
    ],
)
def test_a_stored_split_that_does_not_fit_is_refused(recipe, stored, words):
    with pytest.raises(RunError, match=words):
        split_cases(recipe, stored)


@pytest.mark.parametrize("data", ["one", "mni152"])
def test_a_single_scan_is_cut_into_slabs_that_folds_share(tmp_path, data):
    if data == "one":
        (tmp_path / "one").mkdir()
        add(tmp_path / "one", "scan")
    else:
        pytest.importorskip("nilearn")
    folder = dict(data=str(tmp_path / "one") if data == "one" else data, spacing_mm=(8.0,))
    if data == "one":
        folder["spacing_mm"] = ()
    one = replace(get_recipe("folder"), num_classes=2, **folder)
    names = [split_cases(replace(one, fold=fold, folds=3)).names() for fold in range(3)]
    held_out = sorted(name for split in names for name in split["held_out"])
    assert held_out == [f"{'scan' if data == 'one' else data}_slab{part}" for part in range(3)]
    some = split_cases(replace(one, slabs=4, held_out=0.5))
    assert [len(part) for part in (some.train, some.held_out)] == [2, 2]
    assert split_cases(replace(one, slabs=4, held_out=0.5), some.names()).names() == some.names()
    parts = [case.read(one.sides_mm) for case in (*some.train, *some.held_out)]
    assert all(part.label.any() for part in parts)
    # no slice is in two of them
    places = sorted((tuple(part.affine[:3, 3]), part.image.shape) for part in parts)
    assert len(set(places)) == 4


def test_slabs_of_several_scans_are_refused(recipe):
    with pytest.raises(RunError, match=r"single labelled scan and .* has 7"):
        split_cases(replace(recipe, slabs=3))
    with pytest.raises(RunError, match="slabs must be 2 or more"):
        replace(recipe, slabs=1).check()
