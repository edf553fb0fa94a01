"""nnU-Net v2 plans, trains, validates and predicts with a network of lean3d."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import zoo

from lean3d.networks import Network

FOLDER = Path(sys.prefix) / "nnunet"
PATHS = [str(Path(__file__).parents[2] / name) for name in ("src", "benchmarks")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not FOLDER.is_dir() and importlib.util.find_spec("nnunetv2") is None,
        reason="nnunetv2 is not installed",
    ),
]

PLAN = """
from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry
sys.argv = "plan -d 1 -c 3d_fullres -np 1 -npfp 1".split()
plan_and_preprocess_entry()
"""
EDIT = """
from lean3d.networks.nnunet import edit_plans
edit_plans(
    "preprocessed/Dataset001_Made/nnUNetPlans.json", "acs", "unet2d", convert="acs",
    widths=(4, 8), patch_size=(16, 32, 32), batch_size=2,
)
"""
TRAIN = """
from nnunetv2.run.run_training import get_trainer_from_args
made = "1", "3d_fullres", "all", TRAINER, PLANS
trainer = get_trainer_from_args(*made, device=torch.device("cpu"))
trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 2, 1
trainer.run_training()
trainer.perform_actual_validation(False)
"""
PREDICT = """
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
sys.argv = (
    "predict -d 1 -c 3d_fullres -f all -p acs -tr nnUNetTrainerNoDeepSupervision -device cpu "
    "-i raw/Dataset001_Made/imagesTr -o masks -npp 1 -nps 1 --disable_tta"
).split()
predict_entry_point()
"""


def data_set(folder):
    """Two cases of a ball and a box, as nnU-Net has them."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    z, y, x = np.mgrid[:20, :40, :40]
    for case in range(2):
        label = ((z - 9) ** 2 + (y - 14) ** 2 + (x - 14 - case) ** 2 < 50).astype(np.uint8)
        label[6:14, 24:34, 24 - case : 34 - case] = 2
        noise = np.random.default_rng(case).normal(0, 30, label.shape)
        for path, voxels in (
            ("imagesTr/case{}_0000.nii.gz", (noise + 150 * label).astype(np.int16)),
            ("labelsTr/case{}.nii.gz", label),
        ):
            image = nib.Nifti1Image(voxels.T, np.diag([1.0, 1.0, 2.0, 1.0]))
            nib.save(image, folder / path.format(case))
    facts = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1, "box": 2}}
    facts |= {"numTraining": 2, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(facts))


def run(folder, code, workers=0):
    names = ("raw", "preprocessed", "results")
    environment = {**os.environ, **{f"nnUNet_{name}": str(folder / name) for name in names}}
    environment |= {"nnUNet_n_proc_DA": str(workers), "nnUNet_compile": "f"}
    environment["PYTHONPATH"] = os.pathsep.join([*PATHS, str(FOLDER)])
    script = folder / "step.py"
    lines = "".join(f"    {line}\n" for line in code.strip().splitlines())
    script.write_text(f"import sys, zoo, torch\nif __name__ == '__main__':\n{lines}")
    step = [sys.executable, str(script)]
    done = subprocess.run(step, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def trained(folder, trainer, plans):
    return run(folder, TRAIN.replace("TRAINER", repr(trainer)).replace("PLANS", repr(plans)))


def test_nnunet_trains_and_predicts_with_a_network_of_lean3d(tmp_path):
    assert zoo  # importable in the steps too
    data_set(tmp_path / "raw" / "Dataset001_Made")
    for code in (PLAN, EDIT):
        status, said = run(tmp_path, code, workers=1)
        assert status == 0, said
    status, said = trained(tmp_path, "nnUNetTrainerNoDeepSupervision", "acs")
    assert status == 0, said
    results = tmp_path / "results" / "Dataset001_Made"
    fold = results / "nnUNetTrainerNoDeepSupervision__acs__3d_fullres" / "fold_all"
    saved = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    weights = saved["network_weights"]
    # the kernels of ACS are those of the 2D network
    assert weights["network.encoder.0.0.weight"].shape == (4, 1, 3, 3)
    assert "Dice" in (fold / "validation" / "summary.json").read_text()
    status, said = run(tmp_path, PREDICT)
    assert status == 0, said
    for case in range(2):
        assert nib.load(tmp_path / "masks" / f"case{case}.nii.gz").shape == (40, 40, 20)
    # its usual trainer supervises deeply
    status, said = trained(tmp_path, "nnUNetTrainer", "acs")
    assert status != 0
    assert "train with -tr nnUNetTrainerNoDeepSupervision" in said


def test_what_nnunet_has_trained_is_read(tmp_path):
    data_set(tmp_path / "raw" / "Dataset001_Made")
    status, said = run(tmp_path, PLAN, workers=1)
    assert status == 0, said
    plans = tmp_path / "preprocessed" / "Dataset001_Made" / "nnUNetPlans.json"
    planned = json.loads(plans.read_text())
    planned["configurations"]["3d_fullres"] |= {"patch_size": [16, 32, 32], "batch_size": 1}
    given = planned["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    given["features_per_stage"] = [4 + stage for stage in range(given["n_stages"])]
    plans.write_text(json.dumps(planned))
    status, said = trained(tmp_path, "nnUNetTrainer", "nnUNetPlans")
    assert status == 0, said
    results = tmp_path / "results" / "Dataset001_Made"
    fold = results / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_all"
    network = Network(f"nnunet:{fold}", weights="pretrained").build()
    assert not network.fresh
    own = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    found = network.model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in own["network_weights"].items())
