"""What every dataset here has in common: a sample depends on its index alone."""

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from lean3d.errors import DataError

__all__ = ["Samples"]


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """A dataset of (image, label) whose random numbers come from (seed, index), never from before.

    `len` is one epoch. Indices beyond it are valid, because EpochSampler counts on through the
    epochs: what epoch 7 sees is the same after a restart as in one go.
    """

    def __init__(self, length: int, seed: int):
        if length < 1 or seed < 0:
            raise DataError(
                f"{type(self).__name__} needs at least one sample and a seed of 0 or more, "
                f"got {length} and {seed}"
            )
        self.length, self.seed = length, seed

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch in order."""
        return (self[index] for index in range(len(self)))

    def random(self, index: int) -> np.random.Generator:
        """The random numbers of one sample."""
        if index < 0:
            raise IndexError(f"{type(self).__name__} counts from 0, got index {index}")
        return np.random.default_rng((self.seed, index))

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Sample `index` as (image, label)."""
