"""The 2D networks that give weights: trained on images of circles and squares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lean3d.data import Shapes2D
from lean3d.lock import held
from papers.acs.shape_training import score, train_flat
from papers.acs.shape_unet import ShapeUNet, flat_unet
from papers.learn import folder_of
from papers.trained import Kept

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
    device: str = "cpu"

    def trained(self, seed: int) -> tuple[ShapeUNet, dict[str, Any]]:
        """The network after its training, which happens once, and the metrics of every epoch.

        Processes side by side wait for the one that trains it.
        """
        model = flat_unet(self.widths, seed)
        samples, val = self._shapes(seed, 0, self.images), self._shapes(seed, 1, VAL)
        more: dict[str, Any] = dict(seed=seed, epochs=self.epochs, device=self.device)
        scale = self.size, self.widths, self.images, self.epochs
        folder = folder_of(self.out, "2d", seed, scale)
        with held(folder, wait=True):
            return model, train_flat(model, samples, val, folder, **more)

    def score(self, seed: int) -> dict[str, Any]:
        """Its Dice on other images."""
        tests = self._shapes(seed, 2, TESTS)
        return score(self.trained(seed)[0], tests, tests.names, self.device)

    def _shapes(self, seed: int, part: int, num: int) -> Kept:
        return Kept(Shapes2D(num, 3 * seed + part, size=self.size))
