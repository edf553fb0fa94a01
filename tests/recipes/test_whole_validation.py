from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from lean3d.recipes import get_recipe
from lean3d.recipes.evaluation import Settings, driver, evaluate
from lean3d.recipes.runs import run
from lean3d.recipes.segment import Segmenter
from lean3d.train.checkpoints import load_checkpoint


@pytest.fixture
def data(tmp_path):
    """Three cases of different sizes, larger than a crop."""
    random = np.random.default_rng(0)
    for case, size in enumerate([(12, 10, 9), (9, 14, 8), (10, 10, 10)]):
        label = np.zeros(size, np.uint8)
        label[2:8, 2:7, 2:6] = 1
        label[4:6, 3:5, 3:5] = 2
        image = (label + random.normal(0, 0.2, size)).astype(np.float32)
        for part, array in (("images", image), ("labels", label)):
            (tmp_path / part).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / part / f"c{case}.nii.gz")
    return tmp_path


@pytest.mark.parametrize(
    "settings",
    [dict(patch=(8, 8, 8)), dict(patch=(8, 8), model="unet2d", conv=None)],
    ids=["volumes", "slices"],
)
@pytest.mark.parametrize("regions", [(), ("all=1,2", "core=2")], ids=["classes", "regions"])
def test_the_score_of_validation_is_that_of_the_evaluation(data, monkeypatch, settings, regions):
    small = dict(widths=(4, 4), epochs=2, train_samples=8, batch_size=2, lr=0.05, held_out=0.6)
    recipe = replace(
        get_recipe("folder"), data=str(data), regions=regions, num_classes=3, **small, **settings
    )
    results = run(recipe, data / "run", accelerator="cpu", progress=False)
    monkeypatch.setattr(driver, "write_report", lambda *arguments: None)
    *classes, mean = evaluate(data / "run", settings=Settings(surfaces=False)).summary
    best = results["epochs"][results["best_epoch"] - 1]
    assert mean["dice"] == pytest.approx(best["val_dice"], abs=1e-6)
    assert [row["class"] for row in classes] == (["all", "core"] if regions else ["1", "2"])
    for row in classes:
        assert row["dice"] == pytest.approx(best[f"val_dice_{row['class']}"], abs=1e-6)


def test_a_mask_of_regions_holds_their_classes(data):
    small = dict(widths=(4, 4), epochs=1, train_samples=8, batch_size=2, lr=0.05, num_classes=3)
    recipe = replace(get_recipe("folder"), data=str(data), patch=(8, 8, 8), **small)
    run(replace(recipe, regions=("all=1,2",)), data / "run", accelerator="cpu", progress=False)
    segmenter = Segmenter([data / "run"])
    mask, scores = data / "mask.nii.gz", data / "scores.nii.gz"
    segmenter.segment(data / "images" / "c0.nii.gz", [mask])
    first = np.asarray(nib.load(mask).dataobj)
    segmenter.segment(data / "images" / "c0.nii.gz", [mask], scores)
    share = np.asarray(nib.load(scores).dataobj)
    assert first.any()
    np.testing.assert_array_equal(first, np.asarray(nib.load(mask).dataobj))
    np.testing.assert_array_equal(share.squeeze() > 0.5, first == 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_draws_the_same_augmented_crops(data, workers):
    small = dict(widths=(2, 2), train_samples=6, batch_size=2, num_classes=3, patch=(8, 8, 8))
    small |= dict(augment=("nnunet",), optimizer="sgd", nesterov=True, schedule="steps", steps=(1,))
    recipe = replace(get_recipe("folder"), data=str(data), workers=workers, **small)
    weights = []
    for name, sessions in (("whole", [2]), ("cut", [1, 2])):
        for epochs in sessions:
            quiet = dict(accelerator="cpu", progress=False, resume=epochs != sessions[0])
            run(replace(recipe, epochs=epochs), data / name, **quiet)
        weights.append(load_checkpoint(data / name / "checkpoints" / "last.ckpt")["state_dict"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
