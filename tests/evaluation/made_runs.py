"""Folders of runs without training, and cases with known predictions."""

import json

import nibabel as nib
import numpy as np
import torch

from lean3d.recipes.build import build_model
from lean3d.recipes.task import build_task

SPACING = (1.0, 2.0, 2.5)  # right, anterior, superior


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*SPACING, 1])), path)


def made_run(folder, recipe, split=None, seed=0):
    """A folder as training leaves it, with weights of that seed."""
    torch.manual_seed(seed)
    model, *_ = build_model(recipe)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": build_task(recipe, model).state_dict()}, _best(folder))
    record = {"recipe": recipe.to_dict(), "split": split, "sessions": [{"torch": "2"}]}
    (folder / "recipe.json").write_text(json.dumps(record))
    rows = [{"epoch": e, "train_loss": 1 / e, "val_loss": 2 / e, "val_dice": 0.1} for e in (1, 2)]
    metrics = {"monitor": "val_dice", "epochs": rows}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def _best(folder):
    return folder / "checkpoints" / "best.ckpt"


def block(*places, shape=(10, 8, 12)):
    """A label map as in a file, (right, anterior, superior), from (class, place) pairs."""
    label = np.zeros(shape, np.uint8)
    for value, place in places:
        label[place] = value
    return label


# name -> truth and prediction
A, B = np.s_[2:6, 2:4, 2:6], np.s_[2:6, 2:4, 4:8]  # 32 voxels each, 16 in both
CASES = {
    "exact": (block((1, A), (2, (8, 7, 11))), block((1, A), (2, (8, 7, 11)))),
    "half": (block((1, A)), block((1, B))),
    "missed": (block((1, A)), block()),
    "added": (block(), block((1, np.s_[0:2, 0:2, 0:2]))),
}
DICE = {"exact": 1.0, "half": 0.5, "missed": 0.0, "added": 0.0}


def made_cases(folder):
    random = np.random.default_rng(0)
    for name, (truth, _) in CASES.items():
        save(folder / "labels" / f"{name}.nii.gz", truth)
        image = truth + random.normal(0, 0.1, truth.shape)
        save(folder / "images" / f"{name}.nii.gz", image.astype(np.float32))
    return folder


def known_mask(name):
    """What is predicted of a case, (D, H, W) uint8."""
    return CASES[name][1].T
