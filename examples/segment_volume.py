"""Segment a volume of any size in bounded memory, and write the mask on the scan's own grid."""

import tempfile
from pathlib import Path

import torch

import lean3d
from lean3d.data import load_volume, mni152, normalise, save_image, save_mask
from lean3d.infer import predict_volume

folder = Path(tempfile.mkdtemp())
save_image(folder / "scan.nii.gz", mni152(spacing_mm=4))  # stands for your own scan

flat = lean3d.create_model("unet2d", num_classes=4, widths=(4, 8))  # stands for a trained model
model = lean3d.convert(flat, lean3d.ACS())

volume = normalise(load_volume(folder / "scan.nii.gz", spacing_mm=5))
probabilities_KDHW = predict_volume(model, volume.image, window=(32, 32, 32), overlap=0.25)
save_mask(folder / "mask.nii.gz", probabilities_KDHW, volume, like=folder / "scan.nii.gz")

mask = load_volume(folder / "scan.nii.gz", folder / "mask.nii.gz").label
assert torch.equal(mask.unique(), probabilities_KDHW.argmax(0).unique())
print("the mask has the grid of the scan:", tuple(mask.shape))
