"""Train on samples that lie, or are drawn, on the device."""

import math
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lean3d.train.fit import fit

__all__ = ["Batches", "curve", "folder_of", "held", "learn"]

Batch = tuple[Tensor, ...]


class Batches:
    """A loader: batches of `num` samples an epoch, in an order of the seed's and the epoch's.

    Args:
        draw: The samples of some indices (B,), which count on through the epochs where `fresh`.
        fresh: Draw new samples in every epoch; else the same `num`, shuffled.
        shuffle: None of both: the same samples in the same order.
    """

    def __init__(
        self,
        draw: Callable[[Tensor], Batch],
        num: int,
        batch_size: int,
        seed: int = 0,
        *,
        fresh: bool = False,
        shuffle: bool = True,
    ):
        self.draw, self.num, self.batch_size, self.seed = draw, num, batch_size, seed
        self.fresh, self.shuffle, self.epoch = fresh, shuffle, 0

    # Lightning asks every loader with a sampler
    batch_sampler = None

    @property
    def sampler(self) -> "Batches":
        """Who is told the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.num / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        index_N = torch.arange(self.num)
        if self.fresh:
            index_N += self.epoch * self.num
        elif self.shuffle:
            random = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
            index_N = torch.randperm(self.num, generator=random)
        for index_B in index_N.split(self.batch_size):
            yield self.draw(index_B)


def held(
    x: Tensor, label_N: Tensor, batch_size: int, seed: int = 0, *, shuffle: bool = True
) -> Batches:
    """A loader of samples that are all in memory."""

    def draw(index_B: Tensor) -> Batch:
        index_B = index_B.to(x.device)
        return x[index_B], label_N[index_B]

    return Batches(draw, len(x), batch_size, seed, shuffle=shuffle)


def curve(rows: list[dict[str, Any]], key: str) -> dict[str, float]:
    """A number by epoch, where it was measured: not every epoch is validated."""
    return {str(row["epoch"]): round(row[key], 4) for row in rows if row[key] is not None}


def folder_of(runs: Path, name: str, seed: int, scale: Any) -> Path:
    """Where a network is trained; a run of other settings is never gone on with."""
    settings = zlib.crc32(repr(scale).encode())
    return runs / f"{name.replace(' ', '_')}_{seed}_{settings:08x}"


def learn(
    task: Any,
    train: Batches,
    val: Batches,
    folder: Path,
    *,
    epochs: int,
    seed: int,
    device: str,
    val_every: int = 1,
) -> list[dict[str, Any]]:
    """Train to the last epoch, or go on to it; the metrics of every epoch.

    The task then has the weights of the last epoch, on the device, and evaluates.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = dict(epochs=epochs, seed=seed, val_every=val_every)
    device = "cuda" if device.startswith("cuda") else "cpu"
    found = fit(
        task, train, val, folder, **settings, resume=True, accelerator=device, progress=False
    )
    task.to(device).eval()
    last = found["epochs"][-1]
    told = f"{last['seconds']:.2f} s in the last of {epochs} epochs"
    print(f"{folder.name}: {told}", file=sys.stderr, flush=True)
    return found["epochs"]
