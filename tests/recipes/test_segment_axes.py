"""Runs of images that cut volumes across different axes are averaged, whatever the memory."""

import nibabel as nib
import numpy as np
import torch
from torch import nn

from lean3d.recipes import segment
from lean3d.recipes.segmentation import SegmentationRecipe


def run_across(axis):
    torch.manual_seed(axis)
    settings = dict(num_classes=2, patch=(8, 8), batch_size=4, scaling=(-5.0, 5.0, 0.0, 1.0))
    recipe = SegmentationRecipe(name="made", data="", model="", axes=(axis,), **settings)
    return nn.Conv2d(1, 2, 3, padding=1).eval(), recipe


def mask(members, folder, monkeypatch, room):
    made = segment.Segmenter(["a", "b"], members=members, overlap=0.5, memory=1 << 30)
    monkeypatch.setattr(made, "_room", lambda: room)
    out = folder / f"{room}.nii"
    made.segment(folder / "x.nii", [out])
    return np.asarray(nib.load(out).dataobj)


def test_an_axial_and_a_coronal_run_give_one_mask_in_much_and_in_little_memory(
    tmp_path, monkeypatch
):
    array = np.random.default_rng(0).normal(size=(12, 14, 16)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "x.nii")
    both = [run_across(0), run_across(1)]
    much, little = (mask(both, tmp_path, monkeypatch, room) for room in (1 << 28, 100))
    assert (much == little).all()
    one = mask([run_across(0), run_across(0)], tmp_path, monkeypatch, 1 << 28)
    assert (one != much).any()
