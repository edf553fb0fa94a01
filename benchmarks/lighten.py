"""Which criterion of errors, and which cuts, keep a network best at equal multiply-adds, untrained.

    python benchmarks/lighten.py [--samples 24] [--epochs 8]

A 3D U-Net learns the shapes, and is made lighter by `lean3d.lighten` with each criterion and with
each family of cuts, without training afterwards. The loss is the cross-entropy on volumes that it
has not seen.
"""

import argparse
import datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from fit import train, volumes
from torch import Tensor, nn

import lean3d
from lean3d.cost.machine import processor
from lean3d.errors import LeanError
from lean3d.files import write_text
from lean3d.lightening import CUTS
from lean3d.report.table import format_table

TARGETS = (0.5, 0.25, 0.15)
CRITERIA = {
    "fisher, of the outputs": dict(criterion="fisher"),
    "fisher, of the loss": dict(criterion="fisher", loss=F.cross_entropy),
    "taylor, of the loss": dict(criterion="taylor", loss=F.cross_entropy),
    "output of the convolution": dict(criterion="output"),
    "kernel": dict(criterion="kernel"),
}


@torch.no_grad()
def loss(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> float:
    model.eval()
    return sum(float(F.cross_entropy(model(x), y)) for x, y in data) / len(data)


def row(name: str, model: nn.Module, data: list, held_out: list, **how: object) -> dict:
    found: dict = {"by": name}
    for share in TARGETS:
        try:
            light = lean3d.lighten(model, data[0][0][:1], data=data, macs=share, **how)
            found[f"{share:g} of the MACs"] = round(loss(light, held_out), 4)
        except LeanError:
            found[f"{share:g} of the MACs"] = None
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.manual_seed(0)
    model = lean3d.create_model("unet3d", widths=(16, 32))
    data, held_out = volumes(asked.samples, 0), volumes(asked.samples, 1)
    train(model, data, asked.epochs)
    model.eval()
    dense = loss(model, held_out)
    print(f"dense: loss {dense:.4f}", flush=True)
    criteria = [row(name, model, data, held_out, **how) for name, how in CRITERIA.items()]
    families = [row(name, model, data, held_out, cuts=[name]) for name in CUTS]
    if asked.out is not None:
        date = f"{datetime.date.today():%Y-%m-%d}"
        lines = [
            "# What to go by, and what to cut: loss without training",
            "",
            f"U-Net of widths 16 and 32 on 24 voxels a side, {asked.epochs} epochs, dense loss "
            f"{dense:.4f}; {processor()}, {torch.get_num_threads()} threads, torch "
            f"{torch.__version__}, {date}. A gap: the target cannot be met by these cuts.",
            "",
            "```text",
            format_table(criteria),
            "```",
            "",
            "Each family alone, by the criterion `fisher` of the outputs:",
            "",
            "```text",
            format_table(families),
            "```",
        ]
        write_text(asked.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
