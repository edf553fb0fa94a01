"""Shift and scale voxels so that one tissue has one value, in every scan.

CT is measured in Hounsfield units (HU: water 0, air -1000), so a fixed mapping gives a scan and a
crop of it the same values. Magnetic resonance and microscopy have no such unit: each scan is
standardised by its own mean and deviation. The choice, and percentiles of the training set's
foreground, are those of Isensee et al., nnU-Net, Nature Methods 18, 2021.

Axes: C channels, D depth, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lean3d.data.volume import Volume
from lean3d.errors import DataError

__all__ = ["HOUNSFIELD", "Scale", "foreground_scale", "is_ct", "normalise", "standardise", "window"]

# lowest value of scanners, for what lies outside of their field of view; largest of 16 bits
LOWEST, HIGHEST = -3100, 32767
# a CT holds fat, lung or air, all below this many HU; or whole numbers, some of them negative
AIR = -500
# percentiles of the training set's foreground to which a CT is clipped
PERCENTILES = 0.5, 99.5


@dataclass(frozen=True)
class Scale:
    """Clip to low .. high, subtract the mean, divide by the deviation."""

    low: float
    high: float
    mean: float
    deviation: float

    def __call__(self, x: Tensor) -> Tensor:
        # one copy: a scan may fill half of the memory
        return x.clamp(self.low, self.high).sub_(self.mean).div_(self.deviation)


HOUNSFIELD = Scale(-1000, 1000, 0, 500)


def window(low: float, high: float) -> Scale:
    """A window of HU, such as -200 to 250 for the abdomen, scaled to 0 .. 1.

    Raises:
        DataError: it is empty.
    """
    if not -np.inf < low < high < np.inf:
        raise DataError(
            f"a window is a lower and an upper value, such as -200 250, got {low} {high}"
        )
    return Scale(low, high, low, high - low)


def foreground_scale(values: np.ndarray) -> Scale:
    """The scale of percentiles 0.5 and 99.5, mean and deviation of foreground voxels."""
    low, high = np.percentile(values, PERCENTILES)
    # a foreground of one value has no deviation
    deviation = float(values.std()) or 1.0
    return Scale(float(low), float(high), float(values.mean()), deviation)


def is_ct(x_DHW: Tensor, modality: str | None = None) -> bool:
    """Whether values are HU: the file says so, or they look like it.

    They do if they reach down to air and not below what scanners store, or are whole numbers, some
    of them negative: no magnitude of magnetic resonance and no count of photons is negative.
    """
    if modality is not None:
        return modality.upper() == "CT"
    low, high = x_DHW.min().item(), x_DHW.max().item()
    if not LOWEST <= low < 0 <= high <= HIGHEST:
        return False
    return low <= AIR or bool((x_DHW == x_DHW.round()).all())


def normalise(volume: Volume, scales: Sequence[Scale | None] | None = None) -> Volume:
    """Give every channel values of order 1.

    A CT (`is_ct`) is clipped to -1000 .. 1000 HU and divided by 500, so the same HU is the same
    value in every scan and crop. Any other channel gets zero mean and unit variance over its
    foreground: all voxels that differ from the background if the scan has one exactly constant
    background (its eight corners are equal, as in a skull-stripped brain), and all voxels
    otherwise. Background voxels get the same shift and scale, so their contrast with the tissue is
    preserved.

    Args:
        scales: Of each channel, as a run stores them; None for zero mean and unit variance.

    Raises:
        DataError: there are more or fewer scales than channels.
    """
    if scales is None:
        scales = [HOUNSFIELD if is_ct(x, volume.modality) else None for x in volume.image]
    if len(scales) != len(volume.image):
        raise DataError(
            f"{volume.name} has {len(volume.image)} channels and {len(scales)} scales are given; "
            "give one for each channel"
        )
    channels = zip(volume.image, scales, strict=True)
    scaled = [standardise(x) if scale is None else scale(x) for x, scale in channels]
    image = scaled[0].unsqueeze(0) if len(scaled) == 1 else torch.stack(scaled)
    return replace(volume, image=image)


def standardise(x_DHW: Tensor) -> Tensor:
    """Give one channel zero mean and unit variance over its foreground, as `normalise` does."""
    if x_DHW.min() == x_DHW.max():
        return torch.zeros_like(x_DHW)
    corners = x_DHW[[0, -1]][:, [0, -1]][:, :, [0, -1]]
    values = x_DHW
    if corners.min() == corners.max():
        foreground = x_DHW[x_DHW != corners[0, 0, 0]]
        # a scan of only two values has no variance inside its foreground
        values = foreground if foreground.min() < foreground.max() else x_DHW
    variance, mean = torch.var_mean(values, correction=0)
    if 0 < variance < torch.inf:
        return x_DHW.sub(mean).div_(variance.sqrt())
    # the squares of such small, or large, values are beyond float32
    variance, mean = torch.var_mean(values.double(), correction=0)
    return x_DHW.double().sub_(mean).div_(variance.sqrt()).to(x_DHW.dtype)
