"""Train a 3D U-Net on the shapes, make it lean, and see where fine-tuning starts.

    python benchmarks/fit.py [--samples 24] [--epochs 8]

The same lean network starts once with operators fitted to the trained kernels, once with random
operators between the trained rest. The loss is the cross-entropy on volumes that neither has seen,
once each has passed the training volumes without a step, so that all batch norms know their inputs;
and again after an epoch of training.
"""

import argparse
import copy
import datetime

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lean3d
from lean3d.data import Shapes3D
from lean3d.files import write_text
from lean3d.report.table import format_table

Volumes = list[tuple[Tensor, Tensor]]
HALF = 0.5
HOWS: dict[str, tuple] = {
    "SpaceTime()": (lean3d.SpaceTime(), {}),
    'SpaceTime("rank1")': (lean3d.SpaceTime("rank1"), {}),
    'SpaceTime("rank1"), budget=0.5': (lean3d.SpaceTime("rank1"), dict(budget=HALF)),
    "ParallelSeparable(3)": (lean3d.ParallelSeparable(3), {}),
    "ParallelSeparable(3, relu=False)": (lean3d.ParallelSeparable(3, relu=False), {}),
    "Atoms()": (lean3d.Atoms(), {}),
    "ChannelSeparated()": (lean3d.ChannelSeparated(), {}),
}


def volumes(samples: int, seed: int) -> Volumes:
    """Batches of two, half the resolution: 24 voxels a side."""
    data = [Shapes3D(samples, seed)[index] for index in range(samples)]
    pairs = [data[first : first + 2] for first in range(0, samples - 1, 2)]
    return [
        (
            torch.stack([x for x, _ in pair])[..., ::2, ::2, ::2],
            torch.stack([y for _, y in pair])[..., ::2, ::2, ::2],
        )
        for pair in pairs
    ]


def train(model: nn.Module, data: Volumes, epochs: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(epochs):
        for x, y in data:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


@torch.no_grad()
def look(model: nn.Module, data: Volumes) -> None:
    """Let the batch norms see their inputs, and nothing else change."""
    model.train()
    for _ in range(3):
        for x, _ in data:
            model(x)


@torch.no_grad()
def loss(model: nn.Module, data: Volumes) -> float:
    model.eval()
    return sum(float(F.cross_entropy(model(x), y)) for x, y in data) / len(data)


def forgotten(lean: nn.Module) -> nn.Module:
    """The same network with random operators."""
    torch.manual_seed(1)
    result = copy.deepcopy(lean)
    for row in lean.conversion.rows:
        result.get_submodule(row.path).reset_parameters()
    return result


def fits(samples: int, epochs: int) -> list[dict]:
    """Losses of lean networks with fitted and with random operators, before and after an epoch."""
    torch.manual_seed(0)
    data, unseen = volumes(samples, 0), volumes(samples // 2, 1)
    dense = lean3d.create_model("unet3d", widths=(8, 16))
    start = loss(dense, unseen)
    train(dense, data, epochs)
    rows = [{"network": "dense, untrained", "loss": start}]
    rows.append({"network": f"dense, {epochs} epochs", "loss": loss(dense, unseen)})
    table = []
    macs = lean3d.count(dense, data[0][0].shape).macs
    for name, (how, options) in HOWS.items():
        lean = lean3d.convert(dense, how, example=data[0][0], **options)
        errors = [row.exact for row in lean.conversion.rows]
        row = {"network": name, "MACs": lean3d.count(lean, data[0][0].shape).macs / macs}
        row |= {"kernel error": sum(errors) / len(errors)}
        for kind, network in ("fitted", lean), ("random", forgotten(lean)):
            look(network, data)
            row[f"{kind}, start"] = loss(network, unseen)
            train(network, data, 1)
            row[f"{kind}, 1 epoch"] = loss(network, unseen)
        table.append(row)
    blank = dict.fromkeys(list(table[0])[1:], "")
    first = [{"network": r["network"], **blank, "fitted, start": r["loss"]} for r in rows]
    return [
        {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()}
        for row in first + table
    ]


def main() -> None:
    from run import commit, hardware, markdown, results_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=8)
    asked = parser.parse_args()
    rows = fits(asked.samples, asked.epochs)
    print(format_table(rows))
    today = datetime.date.today()
    text = (
        f"# fit\n\n{__doc__.split(chr(10) * 2, 2)[2]}\n{hardware()}; torch {torch.__version__}; "
        f"commit {commit()}; {today}; {asked.samples} volumes, {asked.epochs} epochs.\n"
        f"`python benchmarks/fit.py --samples {asked.samples} --epochs {asked.epochs}`\n\n"
        f"{markdown(rows)}\n"
    )
    write_text(results_file("fit"), text)


if __name__ == "__main__":
    main()
