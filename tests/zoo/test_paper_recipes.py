"""The recipes of the papers by the command line: an epoch and its report, on made data.

The networks are the papers' own, without their weights, on smaller crops.
"""

import json

import nibabel as nib
import numpy as np
import pytest

from lean3d.cli.main import main

pytestmark = pytest.mark.slow
RANDOM = np.random.default_rng(0)
SIDE = 36


def put(path, array, spacing_mm=(1, 1, 1)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing_mm, 1])), path)


def boxes(*sides):
    """A label of a box in which a smaller box of each further class lies."""
    label = np.zeros((SIDE, SIDE, 34), np.uint8)
    for number, side in enumerate(sides, 1):
        first = RANDOM.integers(2, 5)
        label[tuple(slice(first + number, first + number + side) for _ in range(3))] = number
    return label


def grey(label, step=60, noise=20):
    return (step * label.astype(np.int16) + RANDOM.normal(0, noise, label.shape)).astype(np.int16)


def lits(folder):
    for case in range(3):
        label = boxes(26, 8)
        put(folder / f"volume-{case}.nii", grey(label) - 100, (0.7, 0.7, 2.5))
        put(folder / f"segmentation-{case}.nii", label, (0.7, 0.7, 2.5))
    return f"lits:{folder}"


def ibsr(folder):
    for case in range(1, 19):
        label = boxes(26, 14, 8)[:24, :24, :24]
        for name, array in (("ana", grey(label).astype(np.float32)), ("segTRI_ana", label)):
            put(folder / f"IBSR_{case:02}" / f"IBSR_{case:02}_{name}.nii.gz", array)
    return f"ibsr:{folder}"


def lidc(folder):
    rows, names = ["index,malignancy_mode"], []
    (folder / "nodule").mkdir(parents=True)
    for case in range(10):
        mask = np.zeros((24, 24, 24), bool)
        mask[6:14, 6:14, 6:14] = True
        voxel = np.uint8(100 * mask + RANDOM.integers(0, 100, mask.shape))
        names.append(f"n{case}.npz")
        np.savez(folder / "nodule" / names[-1], voxel=voxel, answer1=mask)
        rows.append(f"n{case},{1 + case % 5}")
    (folder / "info").mkdir()
    (folder / "info" / "malignancy.csv").write_text("\n".join(rows) + "\n")
    pairs = [f"{a},{b}" for a, b in zip(names[:5], names[5:], strict=True)]
    (folder / "train_test_split.csv").write_text("\n".join(["train,test", *pairs]) + "\n")
    return f"lidc:{folder}"


def medmnist(folder):
    folder.mkdir()
    parts = {}
    for part, num in (("train", 6), ("val", 4), ("test", 4)):
        parts[f"{part}_images"] = RANDOM.integers(0, 255, (num, 28, 28, 28)).astype(np.uint8)
        parts[f"{part}_labels"] = np.arange(num).reshape(-1, 1) % 2
    np.savez(folder / "nodulemnist3d.npz", **parts)
    return f"medmnist:{folder / 'nodulemnist3d.npz'}"


def decathlon(folder):
    """As Task05_Prostate has it: two channels along a fourth axis."""
    listed = []
    for case in range(3):
        label = boxes(20, 8)
        image = np.stack([grey(label), grey(label, -40)], -1).astype(np.float32)
        put(folder / "imagesTr" / f"prostate_{case:02}.nii.gz", image, (0.6, 0.6, 3.6))
        put(folder / "labelsTr" / f"prostate_{case:02}.nii.gz", label, (0.6, 0.6, 3.6))
        names = (f"./{kind}Tr/prostate_{case:02}.nii.gz" for kind in ("images", "labels"))
        listed.append(dict(zip(("image", "label"), names, strict=True)))
    labels = {"0": "background", "1": "PZ", "2": "TZ"}
    about = {"modality": {"0": "T2", "1": "ADC"}, "labels": labels, "training": listed}
    (folder / "dataset.json").write_text(json.dumps(about))
    return f"decathlon:{folder}"


def brats(folder):
    for case in range(3):
        label = boxes(26, 14, 8)
        name = f"BraTS20_Training_{case:03}"
        for channel in ("t1", "t1ce", "t2", "flair"):
            put(folder / name / f"{name}_{channel}.nii.gz", grey(label))
        put(folder / name / f"{name}_seg.nii.gz", np.array([0, 1, 2, 4], np.uint8)[label])
    return f"brats:{folder}"


RUNS = {
    "lits": (lits, "lits", "--patch 32 32 32 --window 32 32 32"),
    "ibsr": (ibsr, "ibsr", "--patch 16 16 16"),
    "lidc": (lidc, "lidc", "--patch 16 16 16 --middle 2"),
    "lidc_malignancy": (lidc, "lidc_malignancy", "--size 16 16 16 --shift 1"),
    "lidc_p3sc1": (lidc, "lidc", "--patch 16 16 16 --middle 2 --convert p3sc1"),
    "lidc_malignancy_3d": (lidc, "lidc_malignancy", "--size 16 16 16 --shift 1 --convert conv3d"),
    "medmnist": (medmnist, "medmnist", ""),
    "decathlon": (decathlon, "folder", "--patch 8 32 32 --widths 4 8 8 8"),
    "brats": (brats, "folder", "--regions WT=1,2,3 TC=1,3 ET=3 --patch 16 16 16 --widths 4 8 8 8"),
}
SCORED = {
    "lits": {"liver", "lesion"},
    "ibsr": {"CSF", "grey", "white"},
    "lidc": {"nodule"},
    "lidc_p3sc1": {"nodule"},
    "decathlon": {"PZ", "TZ"},
    "brats": {"WT", "TC", "ET"},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_recipe_trains_and_is_evaluated(name, tmp_path, monkeypatch, capsys):
    make, recipe, more = RUNS[name]
    data = make(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    small = "--epochs 1 --batch-size 2 --weights None --accelerator cpu --out run"
    small += " --train-samples 2 --val-samples 2" if name in SCORED else ""
    main(["train", recipe, "--data", data, *small.split(), *more.split()])
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["finished"]
    split = json.loads((tmp_path / "run" / "recipe.json").read_text())["split"]
    assert not set(split["train"]) & set(split["held_out"])
    if name == "ibsr":
        assert (len(split["train"]), len(split["held_out"])) == (11, 2)
    main(["evaluate", "run"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    if name == "ibsr":
        assert found["cases"] == 5
    classes = {row["class"] for row in found["summary"]}
    assert SCORED.get(name, {"accuracy", "AUC"}) <= classes
    folder = tmp_path / "run" / "evaluation"
    page = (folder / "report.html").read_text()
    assert all(scored in page for scored in SCORED.get(name, ()))
    lines = (folder / "scores.csv").read_text().splitlines()
    assert len(lines) == 1 + found["cases"] * len(SCORED.get(name, {"one"}))
