"""Make the random numbers of an epoch depend on the seed and the number of the epoch alone.

A run that is killed and resumed then draws the same numbers: shuffling, dropout and augmentation
restart with the epoch, and no state of a random generator has to be kept.
"""

import random
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader

from lean3d.processes import place

__all__ = ["SeededEpochs", "seed_epoch"]


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed Python, NumPy and PyTorch for one epoch of a run, each of its processes otherwise."""
    rank = place().rank
    words = [seed, epoch, rank] if rank else [seed, epoch]
    value = int(np.random.SeedSequence(words).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


class SeededEpochs:
    """A loader whose every pass is seeded by the epoch set before it.

    The seeding happens at the first batch, not at the start of the pass: the trainer starts the
    first pass after a resume earlier than the others.
    """

    def __init__(self, loader: DataLoader, seed: int):
        self.loader, self.seed, self.epoch = loader, seed, 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        set_epoch = getattr(self.loader.sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(self.epoch)
        seed_epoch(self.seed, self.epoch)
        yield from self.loader
