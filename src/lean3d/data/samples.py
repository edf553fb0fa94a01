"""Base class of the datasets: a sample depends on its index alone."""

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from lean3d.errors import DataError

__all__ = ["Samples"]


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """A dataset of (image, label) whose random numbers depend on (seed, index) alone.

    `len` is one epoch. Indices beyond it are valid, because EpochSampler counts on through the
    epochs: the samples of epoch 7 are the same after a restart as without one.
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
        """Yield one epoch in order."""
        return (self[index] for index in range(len(self)))

    def random(self, index: int) -> np.random.Generator:
        """Return the generator of one sample."""
        if index < 0:
            raise IndexError(f"{type(self).__name__} counts from 0, got index {index}")
        return np.random.default_rng((self.seed, index))

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return sample `index` as (image, label)."""
