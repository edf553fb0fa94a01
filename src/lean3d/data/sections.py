"""Augmentation of stacks of sections: what happens to them in an electron microscope.

As in Funke et al., arXiv:1709.02974, Sec 3, and gunpowder: mirrors and quarter turns, elastic
deformation, contrast and brightness of each section, and sections that are missing, blurred or
shifted. Turns stay in the plane, so that thick sections stay thick. Deformation, noise and blur are
MONAI's; no kept library has defects of sections outside a data pipeline of its own (gunpowder).

Axes: C channels, D depth (sections), H height, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lean3d.data.samples import Samples
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["AUGMENTATIONS", "Augmented", "SectionAugmentation"]

AUGMENTATIONS = ("mirror", "turn", "elastic", "contrast", "noise", "missing", "blurred", "shifted")
# shares of sections with a defect; the first three as common as in CREMI's pipelines
MISSING, BLURRED, SHIFTED = 0.05, 0.05, 0.05
# scale of a section's contrast and of its brightness, in standard deviations of the image
CONTRAST, BRIGHTNESS, NOISE = 0.1, 0.1, 0.1
# pixels: distance of the points of a deformation and how far they move; the shift of a section;
# the deviation of a blur
POINTS, STRETCH, SHIFT, BLUR = 32, 4.0, 4, 1.5


@dataclass(frozen=True)
class SectionAugmentation:
    """Change a crop and its labels at random.

    Args:
        names: Which of `AUGMENTATIONS`.

    Raises:
        DataError: a name is not among them.
    """

    names: tuple[str, ...] = AUGMENTATIONS

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in AUGMENTATIONS:
                known = ", ".join(AUGMENTATIONS)
                raise DataError(f"no augmentation called {name!r}; there are {known}")

    def __call__(
        self, image: Tensor, label: Tensor, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the changed crop, with inputs of about unit variance.

        Shape: (C, D, H, W) and (D, H, W), or (C, H, W) and (H, W) -> the same.
        """
        flat = label.ndim == 2
        if flat:
            image, label = image[:, None], label[None]
        for name in (n for n in AUGMENTATIONS if n in self.names):
            image, label = CHANGES[name](image, label, random)
        image, label = image.contiguous(), label.contiguous()
        return (image[:, 0], label[0]) if flat else (image, label)


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """The samples of a dataset, each changed in the same way whenever it is asked for."""

    def __init__(
        self,
        samples: Samples,
        change: Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, Tensor]],
    ):
        self.samples, self.change = samples, change

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.samples[index]
        # a generator of its own: the one of the sample begins with the place of the crop
        random = np.random.default_rng((self.samples.seed, index, 1))
        return self.change(image, label, random)


def _mirror(image: Tensor, label: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    axes = [axis for axis in (-3, -2, -1) if random.random() < 0.5]
    return image.flip(axes), label.flip(axes)


def _turn(image: Tensor, label: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    quarters = int(random.integers(4))
    if label.shape[-1] != label.shape[-2]:
        quarters -= quarters % 2
    return image.rot90(quarters, (-2, -1)), label.rot90(quarters, (-2, -1))


def _elastic(image: Tensor, label: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Move pixels by a smooth field in the plane, the same in all sections."""
    known, numbers = label.unique(return_inverse=True)
    change = _monai().Rand2DElasticd(
        ["image", "label"],
        spacing=(POINTS, POINTS),
        magnitude_range=(STRETCH, STRETCH),
        prob=1,
        mode=("bilinear", "nearest"),
        padding_mode="reflection",
    )
    # sections as channels; float32 holds the place of a label exactly, not the label
    moved = _seeded(change, random)({"image": image.flatten(0, 1), "label": numbers.float()})
    places = _plain(moved["label"]).round().long()
    return _plain(moved["image"]).view_as(image), known[places]


def _contrast(image: Tensor, label: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    shape = (1, image.shape[1], 1, 1)
    gain = torch.from_numpy(1 + CONTRAST * random.standard_normal(shape)).float()
    offset = torch.from_numpy(BRIGHTNESS * random.standard_normal(shape)).float()
    return image * gain + offset, label


def _noise(image: Tensor, label: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    noise = _monai().RandGaussianNoise(prob=1, std=NOISE)
    return _plain(_seeded(noise, random)(image)), label


def _missing(image: Tensor, label: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Blank sections; their labels stay, neighbours have to do."""
    lost = _sections(image, MISSING, random)
    image = image.clone()
    image[:, lost] = float(image.min())
    return image, label


def _blurred(image: Tensor, label: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    image, blur = image.clone(), _monai().GaussianSmooth(sigma=BLUR)
    for section in _sections(image, BLURRED, random):
        image[:, section] = _plain(blur(image[:, section]))
    return image, label


def _shifted(image: Tensor, label: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Shift sections as a whole: the image, not the labels, as a bad alignment does."""
    image = image.clone()
    for section in _sections(image, SHIFTED, random):
        down, right = (int(step) for step in random.integers(-SHIFT, SHIFT, 2, endpoint=True))
        image[:, section] = image[:, section].roll((down, right), (-2, -1))
    return image, label


def _monai() -> Any:
    return require("monai.transforms", extra="volume")


def _seeded(change: Any, random: np.random.Generator) -> Any:
    """Give a random transform of MONAI a seed that follows from the sample's."""
    return change.set_random_state(seed=int(random.integers(2**31)))


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without MONAI's metadata."""
    return torch.as_tensor(tensor).as_subclass(torch.Tensor)


def _sections(image: Tensor, share: float, random: np.random.Generator) -> Sequence[int]:
    """Choose sections of a volume; an image has none that others could replace."""
    depth = image.shape[1]
    chosen = np.flatnonzero(random.random(depth) < share).tolist()
    return chosen if depth > 1 else []


CHANGES = dict(
    mirror=_mirror,
    turn=_turn,
    elastic=_elastic,
    contrast=_contrast,
    noise=_noise,
    missing=_missing,
    blurred=_blurred,
    shifted=_shifted,
)
