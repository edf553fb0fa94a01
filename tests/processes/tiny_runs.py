"""Runs of a second each, of every task, to train in several processes."""

import csv
from dataclasses import replace
from pathlib import Path

from torch import nn

from lean3d.recipes import get_recipe

HERE = Path(__file__)
SECONDS = {"seconds", "train_seconds", "peak_memory_mib"}


def net(in_channels, num_classes):
    """For volumes; batch norm counts the samples of a step."""
    first = nn.Conv3d(in_channels, 4, 3, padding=1)
    return nn.Sequential(first, nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, num_classes, 1))


def classifier(in_channels, num_classes):
    pool = nn.AdaptiveAvgPool3d(1)
    return nn.Sequential(net(in_channels, 4), pool, nn.Flatten(), nn.Linear(4, num_classes))


LEARN = dict(optimizer="sgd", lr=0.05, epochs=2, sync_batchnorm=True)


def shapes(**changes):
    data = dict(data="shapes3d", num_classes=6, in_channels=1, patch=(12,) * 3)
    recipe = replace(get_recipe("folder"), model=f"{HERE}:net", **data, validate="crops")
    own = dict(train_samples=8, val_samples=4, options=(), conv=None, widths=None)
    return replace(recipe, **own | LEARN | changes)


def gestures(name="digits", **changes):
    size = dict(widths=(4, 4), clip=8, video=10, train_samples=8, val_samples=8, warmup=0)
    return replace(get_recipe(name), **size | LEARN | changes)


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    return [{k: float(v) for k, v in row.items() if k not in SECONDS} for row in table]


def plain(in_channels, num_classes):
    """Without batch norm: a batch is its samples."""
    return nn.Sequential(
        nn.Conv3d(in_channels, 4, 3), nn.ReLU(), nn.ConvTranspose3d(4, num_classes, 3)
    )
