"""What the tests of the command line share."""

import json

import nibabel as nib
import numpy as np

SMALL = dict(train_samples=2, val_samples=2, batch_size=2, epochs=1, accelerator="cpu")
FLAGS = [word for k, v in SMALL.items() for word in (f"--{k.replace('_', '-')}", str(v))]


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 1, 3, 1]) if affine is None else affine), path)
    return path


def last_json(out):
    return json.loads(out.splitlines()[-1])
