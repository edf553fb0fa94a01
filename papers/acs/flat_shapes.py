"""The 2D networks that give weights: trained on images of circles and squares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lean3d.data import Shapes2D
from papers.acs.shape_training import score, train
from papers.acs.shape_unet import ShapeUNet, flat_unet

__all__ = ["Flat"]

VAL, TESTS = 500, 2_000


@dataclass(frozen=True)
class Flat:
    """A UNet over images, and what it learns from.

    Args:
        size: Pixels along a side.
        out: Where its runs lie, a folder a seed.
    """

    size: int
    widths: Sequence[int]
    images: int
    epochs: int
    out: Path

    def trained(self, seed: int) -> tuple[ShapeUNet, dict[str, Any]]:
        """The network after its training, which happens once, and the metrics of every epoch."""
        model = flat_unet(self.widths, seed)
        samples, val = self._shapes(seed, 0, self.images), self._shapes(seed, 1, VAL)
        return model, train(model, samples, val, self.out / f"2d_{seed}", seed, self.epochs)

    def score(self, seed: int) -> dict[str, Any]:
        """Its Dice on other images."""
        tests = self._shapes(seed, 2, TESTS)
        return score(self.trained(seed)[0], tests, tests.names)

    def _shapes(self, seed: int, part: int, num: int) -> Shapes2D:
        return Shapes2D(num, 3 * seed + part, size=self.size)
