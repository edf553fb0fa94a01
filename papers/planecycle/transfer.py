"""Six ways of going from 2D to 3D: `python -m papers.planecycle.transfer --device cuda`.

A 2D network learns to segment images; each way makes it 3D. Its features as they are, averaged over
a volume, go into a logistic regression (mAUC, accuracy); then it is fine-tuned to segment volumes
(Dice). Goes on with the pieces that are there; `python -m papers.planecycle.table` reads them.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.conversion import ACS, Inflate, MeanACS, Planar, PlaneCycle, SoftACS, convert
from lean3d.errors import ConversionError
from lean3d.files import write_text
from lean3d.metrics import class_scores, linear_probe
from lean3d.models.heads import head_features
from lean3d.optional import require
from lean3d.train.provenance import provenance
from papers.planecycle.data import DATA, Brain

__all__ = ["HOWS", "NETWORKS", "Dense", "main"]

HOWS: dict[str, Any] = {
    "acs": ACS(),
    "mean_acs": MeanACS(),
    "soft_acs": SoftACS(),
    "planar": Planar(),
    "inflate": Inflate(),
    "slices": PlaneCycle(order=("HW",)),
    "plane_cycle": PlaneCycle(),
    "plane_cycle_layer": PlaneCycle(cycle="layer"),
    "plane_cycle_deep": PlaneCycle(keep_depth=None, depth_stride=4),
}
NETWORKS = {
    "resnet18": (1, 2, 3),
    "resnet50": (1, 2, 3),
    "convnext_tiny": (0, 1, 2),
    "vit_small_patch8_224": (5, 8, 11),
}


class Dense(nn.Module):
    """The maps of a timm backbone, at the size of the finest, and a linear head on them."""

    def __init__(self, name: str, classes: int, size: int):
        super().__init__()
        timm = require("timm", extra="zoo")
        sized = dict(img_size=size) if name.startswith("vit") else {}
        self.backbone = timm.create_model(
            name, features_only=True, in_chans=1, out_indices=NETWORKS[name], **sized
        )
        self.head = nn.Conv2d(sum(self.backbone.feature_info.channels()), classes, 1)

    def features(self, x: Tensor) -> Tensor:
        maps = self.backbone(x)
        size = maps[0].shape[2:]
        return torch.cat([F.interpolate(m, size=size, mode="bilinear") for m in maps], 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.head(self.features(x)), size=x.shape[2:], mode="bilinear")


def fit(
    model: nn.Module, pairs: tuple[Tensor, Tensor], steps: int, batch: int, rate: float
) -> float:
    """Train by cross-entropy on all voxels; return the seconds of a step."""
    device = next(model.parameters()).device
    images, labels = (x.to(device) for x in pairs)
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    draw = torch.Generator().manual_seed(0)
    model.train()
    start = time.perf_counter()
    for _ in range(steps):
        which = torch.randint(len(images), (batch,), generator=draw).to(device)
        loss = F.cross_entropy(model(images[which]), labels[which])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    loss.item()
    return (time.perf_counter() - start) / steps


@torch.no_grad()
def outputs(model: nn.Module, images: Tensor, batch: int) -> Tensor:
    device = next(model.parameters()).device
    model.eval()
    return torch.cat([model(x.to(device)).cpu() for x in images.split(batch)])


def dice(model: nn.Module, pairs: tuple[Tensor, Tensor], classes: int, batch: int) -> float:
    """Return the mean of the foreground classes, over all voxels of all volumes."""
    inter, whole = torch.zeros(classes), torch.zeros(classes)
    for x, y in zip(pairs[0].split(batch), pairs[1].split(batch), strict=True):
        found = outputs(model, x, batch).argmax(1)
        for kind in range(classes):
            inter[kind] += 2 * ((found == kind) & (y == kind)).sum()
            whole[kind] += (found == kind).sum() + (y == kind).sum()
    return (inter[1:] / whole[1:].clamp_min(1)).mean().item()


def probe(
    deep: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], batch: int
) -> tuple[float, float]:
    """Return mAUC and accuracy of a logistic regression on averaged features."""
    device = next(deep.parameters()).device
    parts = [head_features(deep, deep.head, x.split(batch), device) for x, _ in (train, test)]
    fitted = (parts[0], train[1])
    (scores,) = linear_probe(fitted, parts[1:], num_classes=int(train[1].max()) + 1)
    found = class_scores(scores, test[1])
    return found["auc"], found["accuracy"]


class Volumes:
    """The volumes of a seed, made once."""

    def __init__(self, data: Any, seed: int, asked: argparse.Namespace):
        probes, trains, tests = (20, 4, 4) if asked.tiny else (asked.probes, 240, 60)
        self.probes = [data.classified(probes, seed, held_out) for held_out in (False, True)]
        self.train = data.labelled(trains, seed, False)
        self.test = data.labelled(tests, seed, True)


def measured(
    flat: Dense, how: str, volumes: Volumes, asked: argparse.Namespace, classes: int
) -> dict[str, Any]:
    """Return the scores of one way, or why it refuses the network."""
    start = time.perf_counter()
    try:
        deep = convert(copy.deepcopy(flat).cpu(), HOWS[how], accept="planar").to(asked.device)
    except ConversionError as error:
        return {"refused": str(error)}
    converted = time.perf_counter()
    area, accuracy = probe(deep, *volumes.probes, 8)
    probed = time.perf_counter()
    record: Any = deep.conversion
    found = {
        "mauc": round(area, 4),
        "accuracy": round(accuracy, 4),
        "convert seconds": round(converted - start, 1),
        "probe seconds": round(probed - converted, 2),
        "grade": record.grade,
    }
    if not asked.steps:
        return found
    torch.manual_seed(0)
    # a new head, before it is 3D
    fresh = copy.deepcopy(flat).cpu()
    fresh.head = nn.Conv2d(flat.head.in_channels, classes, 1)
    deep = convert(fresh, HOWS[how], accept="planar").to(asked.device)
    step = fit(deep, volumes.train, 2 if asked.tiny else asked.steps, 4, 5e-4)
    score = dice(deep, volumes.test, classes, 4)
    return found | {"dice": round(score, 4), "step seconds": round(step, 4)}


def flat_network(asked: argparse.Namespace, data: Any, name: str, seed: int) -> tuple[Dense, float]:
    """Return a 2D network that has learnt from images, and its Dice on others."""
    torch.manual_seed(seed)
    flat = Dense(name, data.classes_2d, data.size).to(asked.device)
    count, steps = (40, 2) if asked.tiny else (4000, asked.flat_steps)
    fit(flat, data.images(count, seed), steps, 32, 1e-3)
    return flat.eval(), dice(
        flat, data.images(40 if asked.tiny else 400, seed + 100), data.classes_2d, 40
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--brain", type=Path, help="the file that data.store_brain wrote")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--hows", nargs="+", default=list(HOWS), choices=HOWS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--flat-steps", type=int, default=1500, help="of training in 2D")
    parser.add_argument("--probes", type=int, default=400, help="volumes to fit, and to test on")
    parser.add_argument("--steps", type=int, default=400, help="of fine-tuning; 0 for none")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pieces", type=Path, default=Path("runs") / "planecycle")
    parser.add_argument("--tiny", action="store_true", help="to try the command out")
    asked = parser.parse_args()
    asked.pieces.mkdir(parents=True, exist_ok=True)
    for kind in asked.data:
        data: Any = Brain(asked.brain) if kind == "brain" else DATA[kind]()
        for name in asked.networks:
            for seed in asked.seeds:
                _run(asked, data, kind, name, seed)


def _run(asked: argparse.Namespace, data: Any, kind: str, name: str, seed: int) -> None:
    paths = {how: asked.pieces / f"{kind}-{name}-{how}-{seed}.json" for how in asked.hows}
    missing = {how: path for how, path in paths.items() if not path.exists()}
    if not missing:
        return
    flat, score = flat_network(asked, data, name, seed)
    volumes = Volumes(data, seed, asked)
    for how, path in missing.items():
        found = measured(flat, how, volumes, asked, data.classes_3d)
        entry = {"data": kind, "network": name, "how": how, "seed": seed, "flat dice": score}
        settings = dict(flat_steps=asked.flat_steps, probes=asked.probes, steps=asked.steps)
        entry |= found | settings | {"where": provenance(), "device": asked.device}
        write_text(path, json.dumps(entry, indent=1))
        shown = {key: value for key, value in entry.items() if key != "where"}
        print(json.dumps(shown), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
