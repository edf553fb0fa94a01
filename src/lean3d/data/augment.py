"""Augmentation of crops of scans, by MONAI: a change for every name, presets, and a seed.

The probabilities and ranges of "nnunet", and of single changes, are those of Isensee et al.,
nnU-Net, Nature Methods 18, 2021, Supplementary Note 4; "light" has narrower ones and no mirrors.

Axes: C channels, D depth, H height, W width.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["PRESETS", "Augmentation", "Change"]

Change = Literal[
    "none",
    "light",
    "nnunet",
    "rotate",
    "scale",
    "elastic",
    "mirror",
    "noise",
    "blur",
    "brightness",
    "contrast",
    "low_resolution",
    "gamma",
]
PRESETS: dict[str, tuple[str, ...]] = {
    "none": (),
    "light": ("rotate", "scale", "noise", "brightness", "contrast", "gamma"),
    "nnunet": (
        *("rotate", "scale", "noise", "blur", "brightness", "contrast", "low_resolution"),
        *("gamma", "mirror"),
    ),
}
# in the order in which they are made
ORDER = [name for name in get_args(Change) if name not in PRESETS]
# a crop this much thinner than wide is turned in its plane alone
THIN = 3


class Augmentation:
    """Changes a crop and its labels at random; pickles, and gives the same for the same seed.

    Args:
        names: Presets and single changes: "light", or "nnunet" "elastic", or "rotate" "gamma".
        size: Of the crops: d h w, or h w.

    Raises:
        DataError: there is no such change.
    """

    def __init__(self, names: Sequence[str], size: Sequence[int]):
        known = get_args(Change)
        for name in names:
            if name not in known:
                raise DataError(f"no augmentation called {name!r}; there are {', '.join(known)}")
        wanted = {one for name in names for one in PRESETS.get(name, (name,))}
        self.names = [name for name in ORDER if name in wanted]
        self.size = tuple(size)
        self.light = "light" in names and "nnunet" not in names

    def __call__(
        self, image: Tensor, label: Tensor, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the changed crop; a label of no axes is that of the whole crop.

        Shape: (C, D, H, W) and (D, H, W), (C, H, W) and (H, W), or an image and () -> the same.
        """
        seed = int(random.integers(2**31))
        self.changes.set_random_state(seed=seed)
        whole = label.ndim == 0
        given = {"image": image} if whole else {"image": image, "label": label[None].float()}
        changed = self.changes(given)
        x = torch.as_tensor(changed["image"], dtype=torch.float32).as_subclass(torch.Tensor)
        if whole:
            return x.contiguous(), label
        y = changed["label"].as_subclass(torch.Tensor)[0].round().long()
        return x.contiguous(), y.contiguous()

    def __getstate__(self) -> dict[str, Any]:
        # made again where it is used
        return {key: value for key, value in vars(self).items() if key != "changes"}

    @cached_property
    def changes(self) -> Any:
        """MONAI's transforms."""
        monai = require("monai.transforms", extra="volume")
        return monai.Compose([part for name in self.names for part in self._make(monai, name)])

    def _make(self, monai: Any, name: str) -> list[Any]:
        image, both = ["image"], dict(keys=["image", "label"], allow_missing_keys=True)
        space: dict[str, Any] = dict(
            **both, mode=("bilinear", "nearest"), padding_mode="border", spatial_size=self.size
        )
        if name == "rotate":
            return [monai.RandAffined(prob=0.2, rotate_range=self._angles(), **space)]
        if name == "scale":
            low, high = (-0.1, 0.1) if self.light else (-0.3, 0.4)
            ranges = [(low, high)] * len(self.size)
            return [monai.RandAffined(prob=0.2, scale_range=ranges, **space)]
        if name == "elastic":
            return [self._elastic(monai, space)]
        if name == "mirror":
            axes = range(len(self.size))
            return [monai.RandFlipd(prob=0.5, spatial_axis=axis, **both) for axis in axes]
        if name == "noise":
            return [monai.RandGaussianNoised(image, prob=0.1, std=0.1 if self.light else 0.3)]
        if name == "blur":
            sigmas = {f"sigma_{axis}": (0.5, 1.0) for axis in "xyz"}
            return [monai.RandGaussianSmoothd(image, prob=0.2, **sigmas)]
        if name == "brightness":
            return [monai.RandScaleIntensityd(image, prob=0.15, factors=0.25)]
        if name == "contrast":
            return [monai.RandScaleIntensityFixedMeand(image, prob=0.15, factors=0.25)]
        if name == "low_resolution":
            up = "trilinear" if len(self.size) == 3 else "bilinear"
            zoom: dict[str, Any] = dict(zoom_range=(0.5, 1.0), upsample_mode=up)
            return [monai.RandSimulateLowResolutiond(image, prob=0.25, **zoom)]
        gamma: dict[str, Any] = dict(gamma=(0.7, 1.5), retain_stats=True)
        return [
            monai.RandAdjustContrastd(image, prob=0.1, invert_image=True, **gamma),
            monai.RandAdjustContrastd(image, prob=0.3, **gamma),
        ]

    def _angles(self) -> Any:
        most = np.pi / 18 if self.light else np.pi / 6
        if len(self.size) == 2:
            return most
        thin = self.size[0] * THIN < max(self.size[1:])
        return (most, 0.0, 0.0) if thin else (most,) * 3

    def _elastic(self, monai: Any, space: dict[str, Any]) -> Any:
        if len(self.size) == 2:
            spacing = tuple(max(2, side // 4) for side in self.size)
            return monai.Rand2DElasticd(
                prob=0.2, spacing=spacing, magnitude_range=(0.5, 2.0), **space
            )
        return monai.Rand3DElasticd(prob=0.2, sigma_range=(4, 6), magnitude_range=(20, 80), **space)
