"""Every number of STDCF that needs no training, beside ours: `python -m papers.stdcf`.

Paper: Miao et al., Spatiotemporal Joint Filter Decomposition in 3D Convolutional Neural Networks,
NeurIPS 2021
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from lean3d.cost import count
from lean3d.models import create_model
from lean3d.ops import AtomConv3d
from papers.rows import FORMULA, LIMIT, Row, report
from papers.torchvision import torchvision

__all__ = ["convolution", "kinetics", "kth", "main"]

SIDE = (8, 28, 28)
FULL, SHORT = (16, 1, 16, 60, 80), (16, 1, 8, 60, 80)
MEMORY = {
    "regular": ("459.7", "229.5", "50.07"),
    "rank1": ("582.5", "290.5", "50.13"),
    "stdcf": ("459.4", "228.9", "50.17"),
}
HELD = "peak of a forward and backward pass; the layers are in a supplement we do not have"


def convolution() -> Iterator[Row]:
    """Sec 2.4: the text's ratios are limits for many channels; the formulae are exact."""
    for channels in (64, 512):
        op = atoms(channels, spatial=3)
        dense = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        ours, theirs = (count(layer, (1, channels, *SIDE)) for layer in (op, dense))
        text = 2 * channels * 3 * (9 + 2 * 3 + 2 * channels) * 8 * 28 * 28
        name = f"one convolution, {channels} channels, M=3, N=2, Sec 2.4"
        weights = 2 * 3 + 3 * 9 + channels**2 * 3 * 2
        yield Row(name, "parameters of the formula", f"{weights}", ours.params, "", "", FORMULA)
        yield Row(name, "FLOPs of the formula", f"{text}", ours.flops, "2 per MAC", "", FORMULA)
        share = 100 * ours.params / theirs.params
        yield Row(name, "parameters to 3D", "22.2", share, "%", "2/9", LIMIT)
        share = 100 * ours.macs / theirs.macs
        yield Row(name, "FLOPs to 3D", "22.2", share, "%", "atoms weigh on few channels", LIMIT)


def kth() -> Iterator[Row]:
    """Table 2: training memory of a batch of 16 clips, whole and of half the frames (stage-s)."""
    for form, (whole, half, saved) in MEMORY.items():
        with torch.device("meta"):
            model = create_model(f"kth_{form}")
        costs = [count(model, shape, training=True) for shape in (FULL, SHORT)]
        full, short = (cost.training_peak_bytes for cost in costs)
        name = f"KTH, {form}, Table 2"
        yield Row(name, "memory, full size", whole, full / 1e6, "MB", HELD)
        yield Row(name, "memory, ITSL", half, short / 1e6, "MB", HELD)
        yield Row(name, "saved by ITSL", saved, 100 * (1 - short / full), "%")


def kinetics() -> Iterator[Row]:
    """Table 3; its networks are counted on different clips."""
    with torch.device("meta"):
        ours = create_model("stdcf_resnet50", conv=partial(atoms_like, spatial=6, temporal=2))
        theirs = create_model("r2plus1d_34", pool1=True)
        flat = torchvision().models.resnet50(num_classes=400)
    cost, other = (count(model, (1, 3, 8, 256, 256)) for model in (ours, theirs))
    frames = count(flat, (8, 3, 224, 224))
    joint = "M=6 and N=2 alone give 15.1 M coefficients beside 12.1 M weights of 1x1x1"
    crop = "8x256x256, their test crop, three stages, 1 per MAC"
    yield Row("STDCF-R50, Table 3", "parameters", "18.5", cost.params / 1e6, "M", joint)
    yield Row("STDCF-R50, Table 3", "FLOPs", "52.2", cost.macs / 1e9, "GMACs", crop)
    yield Row("R(2+1)D, Table 3", "parameters", "63.7", other.params / 1e6, "M", "34 layers")
    yield Row("R(2+1)D, Table 3", "FLOPs", "53.2", other.macs / 1e9, "GMACs", "8x256x256, pool1")
    yield Row("TSM, Table 3", "parameters", "24.3", frames.params / 1e6, "M", "2D ResNet-50")
    yield Row("TSM, Table 3", "FLOPs", "33.0", frames.macs / 1e9, "GMACs", "8 frames of 224x224")


# the stages of the paper, which are slower than mixing the kernel first and so not the default
atoms_like = partial(AtomConv3d, path="stages")


def atoms(channels: int, **numbers: int) -> AtomConv3d:
    return atoms_like(channels, channels, 3, padding=1, bias=False, **numbers)


def main() -> None:
    report([*convolution(), *kth(), *kinetics()], Path(__file__).parent)
