"""Masks that overlap: a run learns each by itself, and writes a file for each."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from lean3d.cli.main import main
from lean3d.data import Masks, load_volume
from lean3d.errors import DataError, RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.cases import split_cases
from lean3d.recipes.evaluation import Settings, evaluate
from lean3d.recipes.evaluation.overlays import _that_occur
from lean3d.recipes.resolve import resolve
from lean3d.recipes.runs import load_run, run
from lean3d.recipes.segment import Segmenter

SIZE = (14, 12, 10)


def put(path, array, sides=(1, 1, 1)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*sides, 1])), path)


@pytest.fixture
def data(tmp_path):
    """Bright voxels are in `organ`, those of high index in `far`: neither holds the other."""
    random = np.random.default_rng(0)
    for case in range(4):
        organ = np.zeros(SIZE, np.uint8)
        organ[3:10, 2:9, 2 + case % 2 : 8] = 1
        far = np.zeros(SIZE, np.uint8)
        far[6:] = 1
        image = 4.0 * organ + 2.0 * far + random.normal(0, 0.1, SIZE)
        folder = tmp_path / "data" / f"s{case}"
        put(folder / "ct.nii.gz", image.astype(np.float32))
        put(folder / "segmentations" / "organ.nii.gz", organ)
        put(folder / "segmentations" / "far.nii.gz", 255 * far)
    return tmp_path / "data"


@pytest.fixture
def recipe(data):
    small = dict(widths=(8, 8), patch=(8, 8, 8), epochs=6, train_samples=12, batch_size=2, lr=0.02)
    return replace(get_recipe("folder"), data=f"masks:{data}", **small)


def test_numbers_of_a_label_are_masks_and_back():
    masks = Masks(("a", "b", "c"))
    assert masks.combinations[:5] == ("background", "a", "b", "a+b", "c")
    label = torch.arange(8).view(1, 2, 4)
    inside = masks.targets(label)
    assert inside.shape == (1, 3, 2, 4)
    assert inside[0, 1].flatten().tolist() == [False, False, True, True] * 2
    assert torch.equal(masks.mask(inside[0].float()), label[0])
    for names in ((), ("a", "a"), tuple("abcdefghi")):
        with pytest.raises(DataError, match="1 to 8 masks"):
            Masks(names)


def test_masks_are_read_and_resampled_one_by_one(data):
    folder = data / "s0"
    files = [folder / "segmentations" / f"{name}.nii.gz" for name in ("organ", "far")]
    label = load_volume(folder / "ct.nii.gz", files).label
    assert label.unique().tolist() == [0, 1, 2, 3]
    each = [load_volume(folder / "ct.nii.gz", file, num_classes=2).label for file in files]
    assert torch.equal(label, each[0] + 2 * each[1])
    coarse = dict(spacing_mm=2.0)
    label = load_volume(folder / "ct.nii.gz", files, **coarse).label
    each = [load_volume(folder / "ct.nii.gz", f, num_classes=2, **coarse).label for f in files]
    assert torch.equal(label, each[0] + 2 * each[1])


def test_overlapping_masks_are_learnt_scored_and_written(recipe, data, tmp_path, capsys):
    out = tmp_path / "run"
    results = run(recipe, out, accelerator="cpu", progress=False)
    model, done = load_run(out)
    assert done.masks == ("far", "organ")
    assert model(torch.zeros(1, 1, 8, 8, 8)).shape[1] == 2
    best = results["epochs"][results["best_epoch"] - 1]
    assert best["val_dice_organ"] > 0.9
    assert best["val_dice_far"] > 0.8
    found = evaluate(out, settings=Settings(surfaces=False))
    assert [row["class"] for row in found.summary] == ["far", "organ", "mean"]
    for row in found.summary[:2]:
        assert row["dice"] == pytest.approx(best[f"val_dice_{row['class']}"], abs=1e-6)
    page = (out / "evaluation" / "report.html").read_text()
    assert "Confusion" not in page
    scan, mask = data / "s0" / "ct.nii.gz", tmp_path / "out.nii.gz"
    main(["predict", str(scan), "--run", str(out), "--out", str(mask)])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not mask.exists()
    files = [tmp_path / f"out_{name}.nii.gz" for name in ("far", "organ")]
    assert told["masks"] == [str(file) for file in files]
    far, organ = (np.asarray(nib.load(file).dataobj) for file in files)
    assert set(np.unique(far)) == {0, 1}
    assert (far & organ).any()
    assert (far > organ).any()
    assert (organ > far).any()
    assert told["volume_ml"]["organ"] == pytest.approx(organ.sum() / 1000, abs=1e-3)


def test_a_folder_of_scans_gets_all_masks_of_each_and_goes_on(recipe, data, tmp_path):
    run(replace(recipe, epochs=1), tmp_path / "run", accelerator="cpu", progress=False)
    for case in range(2):
        put(tmp_path / "in" / f"x{case}.nii.gz", np.random.rand(*SIZE).astype(np.float32))
    ask = ["predict", str(tmp_path / "in"), "--run", str(tmp_path / "run")]
    ask += ["--out", str(tmp_path / "masks")]
    main(ask)
    names = {path.name for path in (tmp_path / "masks").glob("*.nii.gz")}
    assert names == {f"x{case}_{name}.nii.gz" for case in range(2) for name in ("far", "organ")}
    gone, kept = (tmp_path / "masks" / f"x{case}_far.nii.gz" for case in range(2))
    gone.unlink()
    before = kept.stat().st_mtime_ns
    main(ask)
    assert gone.exists()
    assert kept.stat().st_mtime_ns == before


def test_some_of_the_masks_are_chosen_by_name(recipe, data):
    one = resolve(replace(recipe, masks=("organ",)))
    assert (one.num_classes, one.num_outputs) == (2, 1)
    assert split_cases(one).train[0].read(None).label.max() == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(masks=("liver",)), "has no mask liver; there are far, organ"),
        (dict(masks=("far",), regions=("a=1",)), "masks are given beside regions"),
        (dict(masks=("far",), num_classes=4), "num_classes is 0 for 1 masks"),
    ],
)
def test_masks_that_cannot_be_are_refused(recipe, tmp_path, settings, words):
    with pytest.raises((RunError, DataError), match=words):
        run(replace(recipe, **settings), tmp_path / "run", accelerator="cpu", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_case_without_one_of_the_masks_is_named(recipe, data, tmp_path):
    (data / "s2" / "segmentations" / "far.nii.gz").unlink()
    with pytest.raises(DataError, match=r"case s2 has no mask far"):
        split_cases(recipe)
    with pytest.raises(DataError, match=r"no CASE/segmentations"):
        split_cases(replace(recipe, data=f"masks:{data / 's0'}"))


def test_tidied_masks_keep_the_largest_piece_of_each(recipe, data, tmp_path):
    run(replace(recipe, epochs=1), tmp_path / "run", accelerator="cpu", progress=False)
    segmenter = Segmenter([tmp_path / "run"], largest=True)
    scores = torch.zeros(2, 6, 6, 6)
    scores[0, :2], scores[0, 5, 5, 5], scores[1, 1:] = 1, 1, 1
    segmenter._scores = lambda volume: scores
    put(tmp_path / "x.nii.gz", np.random.rand(6, 6, 6).astype(np.float32))
    segmenter.segment(tmp_path / "x.nii.gz", [tmp_path / "m.nii.gz"])
    files = [tmp_path / f"m_{name}.nii.gz" for name in ("far", "organ")]
    far, organ = (np.asarray(nib.load(file).dataobj) for file in files)
    assert far.sum() == 72
    assert organ.sum() == 180


def test_pictures_renumber_what_occurs_of_many_combinations():
    names = Masks(("a", "b", "c", "d")).combinations
    truth, pred = torch.tensor([[[0, 9, 9]]]), torch.tensor([[[0, 9, 4]]])
    one, other, shown = _that_occur(truth, pred, names)
    assert shown == ["background", "c", "a+d"]
    assert (one.flatten().tolist(), other.flatten().tolist()) == ([0, 2, 2], [0, 2, 1])
