import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from cli_cases import FLAGS, last_json, save

from lean3d.cli.main import main
from tests.data.dicoms import write_series


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that learnt bright from dark."""
    folder = tmp_path_factory.mktemp("trained")
    image = np.random.default_rng(0).normal(0, 0.1, (12, 12, 12)).astype(np.float32)
    label = np.zeros(image.shape, np.uint8)
    label[3:9, 3:9, 3:9] = 1
    for case in range(2):
        save(folder / "data" / "images" / f"{case}.nii.gz", image + label, np.eye(4))
        save(folder / "data" / "labels" / f"{case}.nii.gz", label, np.eye(4))
    flags = ["--patch", 12, 12, 12, "--widths", 4, 4, "--options", "skip=full", "--lr", 0.05]
    more = ["--train-samples", "20", "--epochs", "4"]
    ask = ["train", "folder", "--data", folder / "data", "--out", folder / "run"]
    assert main([str(word) for word in [*ask, *FLAGS, *flags, *more]]) == 0
    return folder / "run"


@pytest.fixture
def image(cases):
    return cases / "images" / "case0.nii.gz"


def test_writes_the_mask_on_the_grid_of_the_image(lean3d, trained, image, cases, tmp_path):
    out = tmp_path / "mask.nii.gz"
    code, printed, _ = lean3d("predict", image, "--run", trained, "--out", out)
    assert code == 0
    mask, original = nib.load(out), nib.load(image)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, original.affine)
    truth = np.asarray(nib.load(cases / "labels" / "case0.nii.gz").dataobj)
    found = np.asarray(mask.dataobj)
    assert 2 * (found * truth).sum() / (found.sum() + truth.sum()) > 0.8
    answer = last_json(printed)
    assert answer["mask"] == str(out)
    assert answer["volume_ml"]["1"] == pytest.approx(found.sum() * 6 / 1000, abs=1e-3)
    assert "8 x 12 x 10 voxels of 3 x 1 x 2 mm" in printed.splitlines()[0]
    assert "volume (mL)" in printed.splitlines()[1]


@pytest.mark.parametrize("spacing_mm", [1.5, [2, 1, 1.5], None])
def test_the_spacing_of_the_run_is_applied_and_undone(lean3d, trained, image, tmp_path, spacing_mm):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    record = json.loads((run / "recipe.json").read_text())
    assert record["recipe"]["spacing_mm"] == [1, 1, 1]
    record["recipe"]["spacing_mm"] = spacing_mm
    (run / "recipe.json").write_text(json.dumps(record))
    code, _, _ = lean3d("predict", image, "--run", run, "--out", tmp_path / "mask.nii")
    assert code == 0
    assert nib.load(tmp_path / "mask.nii").shape == nib.load(image).shape


@pytest.mark.parametrize("flag", [("--overlap", 0.0), ("--batch-size", 3), ("--device", "cpu")])
def test_takes_its_settings(lean3d, trained, image, tmp_path, flag):
    ask = "predict", image, "--run", trained, "--out", tmp_path / "mask.nii"
    assert lean3d(*ask, *flag)[0] == 0


def bad_image(tmp_path, array=None):
    path = save(tmp_path / "bad.nii.gz", np.zeros((4, 4, 4)) if array is None else array)
    if array is None:
        path.write_bytes(path.read_bytes()[:100])
    return path


@pytest.mark.parametrize("array", [None, np.full((4, 4, 4), np.nan, np.float32)])
def test_a_bad_image_is_one_sentence_and_no_mask(refused, trained, tmp_path, array):
    bad, out = bad_image(tmp_path, array), tmp_path / "mask.nii.gz"
    assert "bad.nii.gz" in refused("predict", bad, "--run", trained, "--out", out)
    assert not out.exists()


@pytest.fixture
def large_image(tmp_path):
    """A small file, as it compresses well; its uncompressed mask is large."""
    half = (np.arange(40) < 20).astype(np.uint8)
    return save(tmp_path / "large.nii.gz", np.ones((40, 40, 40), np.uint8) * half)


def test_a_full_disk_keeps_the_old_mask(refused, trained, tmp_path, large_image, full_disk):
    image, out = large_image, tmp_path / "mask.nii"
    out.write_text("an older mask")
    assert "cannot write" in refused("predict", image, "--run", trained, "--out", out)
    assert out.read_text() == "an older mask"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.nii.gz", "mask.nii"]


@pytest.mark.parametrize(
    ("out", "message"),
    [("mask.png", ".nii.gz"), ("nowhere/mask.nii", "no folder"), ("image", "is the image itself")],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(
    refused, trained, image, tmp_path, out, message
):
    out = image if out == "image" else tmp_path / out
    assert message in refused("predict", image, "--run", trained, "--out", out)


@pytest.mark.parametrize(
    "flag", [("--device", "abacus"), ("--device", "meta"), ("--batch-size", 0), ("--overlap", 1)]
)
def test_settings_that_cannot_be_are_one_sentence(refused, trained, image, tmp_path, flag):
    out = tmp_path / "mask.nii"
    assert str(flag[1]) in refused("predict", image, "--run", trained, "--out", out, *flag)
    assert not out.exists()


def test_the_run_must_be_one_and_fit(refused, trained, image, tmp_path):
    out = tmp_path / "mask.nii"
    assert "no run folder" in refused("predict", image, "--run", tmp_path, "--out", out)
    two = "predict", image, image, "--run", trained, "--out", out
    assert "2 channels and the run was trained on 1" in refused(*two)


def test_scans_of_a_folder_are_segmented_once(lean3d, trained, cases, tmp_path):
    ask = "predict", cases / "images", "--run", trained, "--out", tmp_path / "masks"
    code, printed, _ = lean3d(*ask)
    assert code == 0
    masks = sorted((tmp_path / "masks").glob("*.nii.gz"))
    assert [mask.name for mask in masks] == [f"case{i}.nii.gz" for i in range(3)]
    before = {mask: mask.stat().st_mtime_ns for mask in masks}
    # one is lost, as if the command had been killed
    masks[1].unlink()
    code, printed, _ = lean3d(*ask)
    assert code == 0
    answer = last_json(printed)
    assert (answer["cases"], answer["skipped"]) == (3, 2)
    after = {mask: mask.stat().st_mtime_ns for mask in masks}
    assert [mask for mask in masks if before[mask] != after[mask]] == [masks[1]]


def test_a_folder_of_other_masks_is_left_alone(refused, lean3d, trained, cases, tmp_path):
    ask = "predict", cases / "images", "--run", trained, "--out", tmp_path / "masks"
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "case1.nii.gz").write_text("mine")
    assert "not written by this command" in refused(*ask)
    assert [p.name for p in (tmp_path / "masks").glob("*.gz")] == ["case1.nii.gz"]
    (tmp_path / "masks" / "case1.nii.gz").unlink()
    assert lean3d(*ask)[0] == 0
    assert "other runs or settings" in refused(*ask, "--largest")


def test_a_damaged_scan_does_not_stop_the_others(lean3d, trained, cases, tmp_path):
    (cases / "images" / "case1.nii.gz").write_bytes(b"no scan")
    ask = "predict", cases / "images", "--run", trained, "--out", tmp_path / "masks"
    code, out, err = lean3d(*ask)
    assert code == 2
    assert err.startswith("lean3d: 1 of 3 scans have no mask, such as case1: ")
    assert (err.count("\n"), "2/3 case1: " in out) == (1, True)
    assert len(list((tmp_path / "masks").glob("*.nii.gz"))) == 2


def test_a_folder_that_goes_on_counts_the_scans_there_are_now(lean3d, trained, cases, tmp_path):
    image = cases / "images" / "case1.nii.gz"
    content = image.read_bytes()
    ask = "predict", cases / "images", "--run", trained, "--out", tmp_path / "masks"
    assert lean3d(*ask)[0] == 0
    # the scan is another one now, and damaged
    image.write_bytes(b"no scan")
    code, out, err = lean3d(*ask)
    assert (code, err[:32]) == (2, "lean3d: 1 of 3 scans have no mas")
    image.write_bytes(content)
    code, out, err = lean3d(*ask)
    assert (code, last_json(out)["cases"], last_json(out)["skipped"]) == (0, 3, 2)
    # of scans that are not there any more nothing is said
    image.unlink()
    code, out, err = lean3d(*ask)
    assert (code, last_json(out)["cases"], last_json(out)["skipped"]) == (0, 2, 2)
    assert "2 masks are in" in out


def test_a_shared_run_segments_a_folder(lean3d, trained, cases, tmp_path):
    shared = tmp_path / "shared"
    assert lean3d("share", trained, "--out", shared, "--license", "mit")[0] == 0
    code, out, err = lean3d("predict", cases / "images", "--run", shared, "--out", tmp_path / "m")
    assert (code, last_json(out)["cases"]) == (0, 3), err


def test_the_name_of_one_mask_is_no_folder_for_several(refused, trained, cases, tmp_path):
    ask = "predict", cases / "images", "--run", trained, "--out"
    assert "give the folder for their masks" in refused(*ask, tmp_path / "masks.nii.gz")
    assert not (tmp_path / "masks.nii.gz").exists()


def test_several_runs_formats_and_probabilities(lean3d, trained, image, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    out = tmp_path / "mask.nii.gz"
    ask = "predict", image, "--run", trained, "--run", other, "--out", out
    code, printed, err = lean3d(*ask, "--ending", ".nrrd", ".tif", "--probabilities")
    assert code == 0, err
    assert last_json(printed)["run"] == [str(trained), str(other)]
    names = sorted(path.name for path in tmp_path.glob("mask*"))
    assert names == ["mask.nii.gz", "mask.nrrd", "mask.tif", "mask_probabilities.nii.gz"]
    scores = nib.load(tmp_path / "mask_probabilities.nii.gz")
    np.testing.assert_allclose(scores.get_fdata().sum(-1), 1, atol=1e-5)
    mask = nib.load(out)
    assert (scores.get_fdata().argmax(-1) == mask.get_fdata()).all()
    assert (scores.affine == mask.affine).all()


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize(
    "ending",
    [
        "run/recipe.json",
        "/x.nii.gz",
        ".nii/../m.tif",
        "http://user:pw@host/m.nii",
        "nii.gz",
        ".x",
    ],
)
def test_an_ending_that_is_no_format_is_refused_before_a_run_is_read(
    refused, image, tmp_path, ending, folder
):
    source, out = (image.parent, "masks") if folder else (image, "mask.nii")
    ask = "predict", source, "--run", "no run", "--out", tmp_path / out, "--ending", ".tif", ending
    said = refused(*ask)
    assert "a mask ends in the suffix of a format, .dcm, " in said
    assert "pw" not in said


def test_runs_that_differ_are_not_averaged(refused, trained, image, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    record = json.loads((other / "recipe.json").read_text())
    record["recipe"]["patch"] = [8, 8, 8]
    (other / "recipe.json").write_text(json.dumps(record))
    ask = "predict", image, "--run", trained, "--run", other, "--out", tmp_path / "mask.nii"
    assert "cannot be averaged: patch is (8, 8, 8)" in refused(*ask)


def test_another_spacing_is_said_and_so_is_none(lean3d, trained, image, cases, tmp_path):
    ask = "--run", trained, "--out", tmp_path / "mask.nii"
    # 2 x 1 x 3 mm against 1 mm
    assert (
        "resampled from 3 x 1 x 2 mm to the run's 1 x 1 x 1 mm" in lean3d("predict", image, *ask)[2]
    )
    np.save(tmp_path / "x.npy", nib.load(image).get_fdata().T)
    _, printed, err = lean3d("predict", tmp_path / "x.npy", *ask)
    assert "does not say how large its voxels are" in err
    assert "voxels" in last_json(printed)


def test_a_dicom_series_is_segmented_to_nifti_and_dicom_seg(lean3d, trained, tmp_path):
    pixels = np.zeros((12, 12, 12), np.int16)
    pixels[3:9, 3:9, 3:9] = 20
    pixels += np.random.default_rng(0).integers(-2, 3, pixels.shape).astype(np.int16)
    series = write_series(tmp_path / "ct", pixels, (0, 0, 1.0), spacing=(1, 1))
    code, _, _ = lean3d(
        *("predict", series, "--run", trained, "--out", tmp_path / "m.nii.gz", "--ending", ".dcm")
    )
    assert code == 0
    found = nib.load(tmp_path / "m.nii.gz").get_fdata()
    assert found[4:8, 4:8, 4:8].all()
    assert found.mean() < 0.4
    assert (tmp_path / "m.dcm").read_bytes()[128:132] == b"DICM"


def test_what_is_told_of_a_scan_is_told_once(lean3d, trained, tmp_path, caplog):
    folder = write_series(tmp_path / "ct", step=(0, 0.5, 2.0), spacing=(2, 2))
    assert lean3d("predict", folder, "--run", trained, "--out", tmp_path / "mask.nii.gz")[0] == 0
    assert caplog.text.count("the gantry was tilted") == 1


def test_a_scan_that_is_too_large_for_memory_is_segmented_on_disk(trained, image, tmp_path):
    from lean3d.recipes.segment import Segmenter

    masks = []
    for name, memory in (("a", None), ("b", 100)):
        out = tmp_path / f"{name}.nii.gz"
        found = Segmenter([trained], memory=memory).segment(image, [out])
        masks.append((found, nib.load(out).get_fdata()))
    assert masks[0][0] == masks[1][0]
    assert (masks[0][1] == masks[1][1]).all()
    assert not list(tmp_path.glob(".lean3d-*"))


def test_dicom_seg_of_another_format_is_refused_before_the_network_is_loaded(
    lean3d, trained, image, tmp_path, monkeypatch
):
    monkeypatch.setattr("lean3d.recipes.segment.load_run", lambda run: pytest.fail("loaded"))
    code, _, err = lean3d("predict", image, "--run", trained, "--out", tmp_path / "m.dcm")
    assert (code, "DICOM-SEG needs the DICOM series" in err) == (2, True)
    assert not (tmp_path / "m.dcm").exists()


def test_a_mask_in_little_memory_is_the_same_and_no_memory_is_refused(
    lean3d, trained, image, tmp_path
):
    ask = ["predict", image, "--run", trained]
    assert lean3d(*ask, "--out", tmp_path / "a.nii.gz")[0] == 0
    assert lean3d(*ask, "--out", tmp_path / "b.nii.gz", "--memory-gb", 0.001)[0] == 0
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    code, _, err = lean3d(*ask, "--out", tmp_path / "c.nii.gz", "--memory-gb", 0)
    assert (code, not (tmp_path / "c.nii.gz").exists()) == (2, True)
    assert "--memory-gb is a number above 0, got 0" in err


@pytest.mark.parametrize(("batch_size", "on_disk"), [(1, False), (4096, True)])
def test_a_batch_that_leaves_no_room_for_the_scan_puts_it_on_disk(
    trained, image, tmp_path, monkeypatch, batch_size, on_disk
):
    from lean3d.recipes.segment import ROOM, Segmenter

    used = []
    # 3 copies of the scores of 12 x 12 x 12 voxels and 2 classes, 166 MB for 4,096 windows
    segmenter = Segmenter([trained], memory=ROOM + (32 << 20), batch_size=batch_size)
    disk = segmenter._mask_on_disk
    monkeypatch.setattr(segmenter, "_mask_on_disk", lambda *a: used.append(1) or disk(*a))
    segmenter.segment(image, [tmp_path / "m.nii.gz"])
    assert bool(used) == on_disk


@pytest.mark.usefixtures("few_backends")
def test_optimized_networks_give_the_same_mask_and_the_choice_is_kept(
    lean3d, trained, image, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    ask = ["predict", image, "--run", run, "--device", "cpu"]
    assert lean3d(*ask, "--out", tmp_path / "plain.nii.gz")[0] == 0
    for said in (" ms a call, ", "as chosen before"):
        code, _, err = lean3d(*ask, "--out", tmp_path / "fast.nii.gz", "--optimize")
        assert code == 0
        assert said in err
        masks = [nib.load(tmp_path / f"{name}.nii.gz").get_fdata() for name in ("plain", "fast")]
        np.testing.assert_array_equal(*masks)
    (choice,) = json.loads((run / "optimized.json").read_text())
    assert choice["backend"] == "channels_last"


def test_of_several_series_the_user_is_told_which_to_choose(lean3d, trained, tmp_path):
    for uid in ("1.2.3", "1.2.4"):
        write_series(tmp_path / "study", uid=uid)
    ask = ["predict", tmp_path / "study", "--run", trained, "--out", tmp_path / "m.dcm"]
    code, _, err = lean3d(*ask)
    assert (code, "holds 2 series" in err) == (2, True)
    assert not (tmp_path / "m.dcm").exists()
