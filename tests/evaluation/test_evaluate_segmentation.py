import csv
import json
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_runs import CASES, DICE, known_mask, made_cases, made_run

from lean3d.data.formats.registry import stem
from lean3d.data.stamp import stamp_of
from lean3d.errors import RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.cases import split_cases
from lean3d.recipes.datasets import datasets
from lean3d.recipes.evaluation import Settings, driver, evaluate
from lean3d.recipes.predict import predict
from lean3d.recipes.segment import Segmenter

VOXEL = 1.0 * 2.0 * 2.5 / 1000  # mL


@pytest.fixture
def recipe(tmp_path):
    made_cases(tmp_path / "data")
    names = ("background", "organ", "spot")
    small = dict(num_classes=3, class_names=names, patch=(8, 8, 8), widths=(2, 2), in_channels=1)
    return replace(get_recipe("folder"), data=str(tmp_path / "data"), **small)


@pytest.fixture
def folder(recipe, tmp_path):
    split = {"train": [], "held_out": list(CASES)}
    return made_run(tmp_path / "run", recipe, split)


@pytest.fixture(autouse=True)
def few_pages(request, monkeypatch):
    """Only tests of the page draw it."""
    if "page" not in request.node.name:
        monkeypatch.setattr(driver, "write_report", lambda *arguments: None)


@pytest.fixture
def predicted(monkeypatch):
    """Predictions that are known; their names, in the order in which they were asked for."""
    asked = []

    def mask(self, image, beside):
        asked.append(stem(image))
        return known_mask(stem(image))

    monkeypatch.setattr(Segmenter, "mask", mask)
    return asked


def test_scores_of_every_case_worked_out_by_hand(folder, predicted):
    scored = evaluate(folder).scored
    organ = {name: one.rows[0] for name, one in scored.items()}
    for name, dice in DICE.items():
        assert organ[name]["dice"] == dice
    half = organ["half"]
    assert half["iou"] == pytest.approx(16 / 48)
    # two of eight voxels along superior, each 2.5 mm
    assert half["hd95"] == 5
    assert (half["volume"], half["true_volume"]) == pytest.approx((32 * VOXEL, 32 * VOXEL))
    assert organ["missed"]["volume_error"] == pytest.approx(-32 * VOXEL)
    assert organ["added"]["volume_error"] == pytest.approx(8 * VOXEL)
    assert [organ[name]["occurs"] for name in DICE] == ["both", "both", "missed", "added"]
    assert math.isnan(organ["missed"]["hd95"])
    spot = scored["half"].rows[1]
    assert spot["occurs"] == "absent"
    assert math.isnan(spot["dice"])


def test_the_summary_has_scores_per_case_and_global_ones(folder, predicted):
    organ, spot, mean = evaluate(folder).summary
    assert [row["class"] for row in (organ, spot, mean)] == ["organ", "spot", "mean"]
    assert organ["dice"] == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert organ["low"] < organ["dice"] < organ["high"]
    both, true, found = 32 + 16, 3 * 32, 32 + 32 + 8
    assert organ["dice_global"] == pytest.approx(2 * both / (true + found))
    # the mean distance is that of the cases that have one
    assert organ["hd95"] == pytest.approx((0 + 5) / 2)
    assert (organ["missed_cases"], organ["added_cases"]) == (1, 1)
    assert organ["lesions_text"] == "2/3 +1"
    assert (spot["dice"], spot["cases"]) == (1, 1)
    assert mean["dice"] == pytest.approx(((1 + 1) / 2 + 0.5 + 0 + 0) / 4)


def test_a_lesion_is_found_from_the_given_overlap(folder, predicted):
    organ = evaluate(folder, settings=Settings(lesion_iou=0.4)).summary[0]
    assert organ["lesions_text"] == "1/3 +2"


def test_the_tolerance_of_surfaces_is_in_millimetres(folder, predicted):
    def surface(**settings):
        return (
            evaluate(folder, settings=Settings(**settings)).scored["half"].rows[0]["surface_dice"]
        )

    assert surface(tolerance_mm=5) == 1
    assert 0 < surface(tolerance_mm=0.1) < 1
    assert math.isnan(surface(surfaces=False))


def test_writes_cases_worst_first_and_a_page_of_one_file(folder, predicted):
    out = evaluate(folder).out
    assert out == folder / "evaluation"
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert [row["case"] for row in rows[::2]] == ["missed", "added", "half", "exact"]
    assert rows[0]["hd95"] == ""
    assert float(rows[4]["dice"]) == 0.5
    told = json.loads((out / "summary.json").read_text())
    assert (told["cases"], told["worst"]) == (4, "missed")
    page = (out / "report.html").read_text()
    for name in ("The worst case: missed", "The median case: half", "The best case: exact"):
        assert name in page
    assert "Confusion" in page
    assert "Training" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    # three cases, and the two plots of training
    assert page.count('class="wide"') == 4


def test_the_mask_of_each_case_is_on_the_grid_of_its_file(folder, predicted):
    import nibabel as nib

    out = evaluate(folder).out
    mask = nib.load(out / "predictions" / "half.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), CASES["half"][1])
    assert mask.header.get_zooms() == (1.0, 2.0, 2.5)


def test_cases_that_were_scored_are_not_predicted_again(folder, predicted, monkeypatch):
    known = Segmenter.mask

    def stopping(self, image, beside):
        if len(predicted) == 2:
            raise KeyboardInterrupt
        return known(self, image, beside)

    monkeypatch.setattr(Segmenter, "mask", stopping)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder)
    monkeypatch.setattr(Segmenter, "mask", known)
    first = evaluate(folder)
    assert sorted(predicted) == sorted(CASES)
    again = evaluate(folder)
    assert len(predicted) == 4
    assert first.facts == again.facts
    assert (folder / "evaluation" / "scores.csv").read_text()
    # other settings, labels or weights are other scores
    evaluate(folder, settings=Settings(lesion_iou=0.1))
    assert len(predicted) == 8


def test_a_scan_has_another_stamp_when_a_file_of_it_changes(tmp_path):
    folder = tmp_path / "scan.zarr" / "c"
    folder.mkdir(parents=True)
    (folder / "0").write_bytes(b"1")
    header, voxels = tmp_path / "scan.mhd", tmp_path / "scan.raw"
    for path in (header, voxels):
        path.write_bytes(b"1")
    stamps = [stamp_of(folder.parent, header)]
    for changed in (folder / "0", folder / "1", header, voxels):
        changed.write_bytes(b"22")
        stamps.append(stamp_of(folder.parent, header))
    assert len(set(stamps)) == 5
    assert stamp_of(folder.parent, header) == stamps[-1]


def test_changed_labels_and_weights_are_scored_again(folder, predicted, tmp_path):
    evaluate(folder)
    label = tmp_path / "data" / "labels" / "half.nii.gz"
    label.write_bytes((tmp_path / "data" / "labels" / "exact.nii.gz").read_bytes())
    assert evaluate(folder).scored["half"].rows[1]["occurs"] == "missed"
    assert predicted[4:] == ["half"]
    checkpoint = folder / "checkpoints" / "best.ckpt"
    other = made_run(tmp_path / "other", get_recipe_of(folder), seed=1)
    checkpoint.write_bytes((other / "checkpoints" / "best.ckpt").read_bytes())
    evaluate(folder)
    assert len(predicted) == 9


def test_a_run_without_a_finished_epoch_is_refused(folder):
    (folder / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(RunError, match=r"there is no checkpoint .*best\.ckpt; train the run first"):
        evaluate(folder)


def get_recipe_of(folder):
    from lean3d.recipes.load import load_run

    return load_run(folder)[1]


def test_another_run_is_compared_in_pairs_with_a_page(
    folder, recipe, predicted, tmp_path, monkeypatch
):
    other = made_run(tmp_path / "other", recipe, {"train": ["half"], "held_out": ["exact"]}, seed=1)

    def mask(self, image, beside):
        weights = next(self.members[0][0].parameters())
        first = bool((weights == next(load(folder).parameters())).all())
        return known_mask(stem(image) if first else "missed")

    monkeypatch.setattr(Segmenter, "mask", mask)
    found = evaluate(folder, against=other)
    dice = {row["class"]: row for row in found.comparison if row["score"] == "Dice"}
    organ = dice["organ"]
    assert (organ["this"], organ["other"]) == pytest.approx((1.5 / 3, 0))
    # nothing is predicted where there is nothing: no score, and no pair
    assert (organ["better"], organ["worse"], organ["cases"]) == (2, 0, 3)
    assert organ["difference"] == pytest.approx(0.5)
    assert found.notes[0].startswith(f"{other} was trained on 1 of these 4 cases (half)")
    volume, *_, mean = (r for r in found.comparison if r["score"].startswith("|vol"))
    # errors of an organ that is added and of one that is missed do not cancel out
    assert mean["this"] == pytest.approx((32 + 8) / 2 * VOXEL / 4)
    # the smaller error is the better one
    assert volume["better"] == 2
    page = (found.out / "report.html").read_text()
    assert "Comparison" in page
    # a table for each score
    heads = [f"<p>{row['score']}:</p>" for row in found.comparison]
    assert [page.count(head) for head in heads] == [1] * len(heads)
    # no settings of other tasks
    assert ("lesion_iou" in page, "crops: 1" in page) == (True, False)
    assert "against_dice" in (found.out / "scores.csv").read_text()


def load(folder):
    from lean3d.recipes.load import load_run

    return load_run(folder)[0]


def test_runs_of_other_classes_are_not_compared(folder, recipe, tmp_path):
    names = ("background", "organ", "dot")
    other = made_run(tmp_path / "other", replace(recipe, class_names=names))
    with pytest.raises(RunError, match="same classes"):
        evaluate(folder, against=other)


def test_other_data_are_evaluated_whole(folder, predicted, tmp_path):
    assert len(evaluate(folder, data=str(tmp_path / "data"), out=tmp_path / "own").scored) == 4
    (tmp_path / "data" / "images" / "exact.nii.gz").rename(tmp_path / "image.nii.gz")
    (tmp_path / "data" / "labels" / "exact.nii.gz").rename(tmp_path / "image_label.nii.gz")
    with pytest.raises(RunError, match="no case exact"):
        evaluate(folder)


def test_the_held_out_cases_are_the_default(recipe, predicted, tmp_path):
    split = {"train": ["half", "added"], "held_out": ["exact", "missed"]}
    folder = made_run(tmp_path / "run", recipe, split)
    assert set(evaluate(folder).scored) == {"exact", "missed"}
    made_cases(tmp_path / "more")
    found = evaluate(folder, data=str(tmp_path / "more"), out=tmp_path / "out")
    assert len(found.scored) == 4
    assert "trained on 2 of these 4" in found.notes[0]


@pytest.mark.parametrize(("name", "patch"), [("shapes3d", (48,) * 3), ("shapes2d", (48,) * 2)])
def test_generated_data_are_evaluated(tmp_path, monkeypatch, name, patch):
    recipe = replace(get_recipe(name), widths=(2, 2), val_samples=2)
    folder = made_run(tmp_path / "run", recipe)
    seen = []

    def seeing(model, recipe, volume, **settings):
        seen.append(volume.image)
        return predict(model, recipe, volume, **settings)

    monkeypatch.setattr("lean3d.recipes.evaluation.tasks.segmentation.predict", seeing)
    found = evaluate(folder, settings=Settings(surfaces=False, overlap=0.0))
    assert len(found.scored) == 2
    assert (found.out / "predictions" / "shape_0000.npz").exists()
    # as the network sees them in training
    for image, (trained_on, _) in zip(seen, datasets(recipe)[1], strict=True):
        torch.testing.assert_close(image.reshape(trained_on.shape), trained_on)


def test_a_run_on_crops_around_the_middle_is_scored_on_that_crop(recipe, tmp_path):
    split = {"train": [], "held_out": list(CASES)}
    around = replace(recipe, middle=1, patch=(4, 4, 4), spacing_mm=(), oversample=0.0)
    folder = made_run(tmp_path / "run", around, split)
    found = evaluate(folder, settings=Settings(surfaces=False))
    for case in split_cases(around, split).held_out:
        volume = case.read(None)
        starts = [(side - 4) // 2 for side in volume.image.shape[1:]]
        middle = volume.label[tuple(slice(start, start + 4) for start in starts)]
        assert middle.shape == (4, 4, 4) != volume.label.shape
        rows = found.scored[case.name].rows
        size = math.prod(volume.spacing) / 1000
        true = [row["true_volume"] for row in rows]
        assert true == pytest.approx([size * int((middle == k).sum()) for k in (1, 2)])
        with np.load(found.out / "predictions" / f"{case.name}.npz") as stored:
            assert stored["label"].shape == (4, 4, 4)


def test_windows_overlap_as_the_recipe_says_or_the_settings(recipe, tmp_path, monkeypatch):
    split = {"train": [], "held_out": ["exact"]}
    folder = made_run(tmp_path / "run", replace(recipe, overlap=0.625), split)
    asked = []
    monkeypatch.setattr(
        "lean3d.recipes.segment.predict_labels",
        lambda model, x, *given, overlap, **more: asked.append(overlap) or x[0][0].long() * 0,
    )
    for overlap in (None, 0.25):
        evaluate(folder, settings=Settings(surfaces=False, overlap=overlap))
    assert asked == [0.625, 0.25]


def test_the_masks_are_those_of_predict_and_never_all_probabilities(folder, monkeypatch):
    def whole(*given, **settings):
        raise AssertionError

    monkeypatch.setattr("lean3d.recipes.segment.predict", whole)
    out = evaluate(folder, settings=Settings(surfaces=False)).out
    for name in CASES:
        image = folder.parent / "data" / "images" / f"{name}.nii.gz"
        Segmenter([folder]).segment(image, [folder / "mask.nii.gz"])
        kept, mask = (out / "predictions" / f"{name}.nii.gz", folder / "mask.nii.gz")
        assert kept.read_bytes() == mask.read_bytes()


def test_cases_that_the_authors_test_on_are_the_default(recipe, predicted, tmp_path):
    for number, name in enumerate([*CASES] * 5, 1):
        if number > 18:
            break
        for kind, ending in (("images", "ana"), ("labels", "segTRI_ana")):
            own = tmp_path / "ibsr" / f"IBSR_{number:02}_{ending}.nii.gz"
            own.parent.mkdir(exist_ok=True)
            shutil.copy(tmp_path / "data" / kind / f"{name}.nii.gz", own)
    of_authors = replace(recipe, data=f"ibsr:{tmp_path / 'ibsr'}")
    split = split_cases(of_authors)
    assert [len(part) for part in (split.train, split.held_out, split.test)] == [11, 2, 5]
    folder = made_run(tmp_path / "other", of_authors, split.names())
    again = split_cases(of_authors, split.names())
    names = [case.name for case in again.test]
    assert names == [f"IBSR_{number}" for number in range(12, 17)]
    # a fold of one's own may train on some of them
    mixed = {"train": ["IBSR_12"], "held_out": ["IBSR_13"]}
    assert [case.name for case in split_cases(of_authors, mixed).test] == names[2:]
    predicted_all = {f"IBSR_{n}_ana" for n in range(12, 17)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("test_evaluate_segmentation.known_mask", lambda name: CASES["half"][1].T)
        assert set(evaluate(folder).scored) == set(names)
    assert set(predicted) == predicted_all


def test_voxels_of_a_size_no_file_says_are_named(folder, predicted, tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / "plain" / kind).mkdir(parents=True)
    array = known_mask("exact")
    np.save(tmp_path / "plain" / "images" / "exact.npy", array.astype(np.float32))
    np.save(tmp_path / "plain" / "labels" / "exact.npy", array.astype(np.uint8))
    found = evaluate(folder, data=str(tmp_path / "plain"), out=tmp_path / "out")
    assert any("no file says how large its voxels are" in note for note in found.notes)
    assert not any("how large" in note for note in evaluate(folder).notes)
