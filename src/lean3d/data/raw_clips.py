"""Clips of a batch resized, mirrored and normalised at once on the device of the model.

Loading processes then decode alone. The parts and the mirroring are those that `Look` has drawn, so
that the clips are those of the CPU, to the rounding of single precision.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

from lean3d.data.look import GREY, Look
from lean3d.optional import require

__all__ = ["LookOnDevice", "RawClip", "raw_batch"]


class RawClip(NamedTuple):
    """The part of its frames that a clip shows, as decoded.

    Args:
        part: (T, H, W, 3) uint8, of the size of the part.
        mirrored: Whether the clip is to be mirrored.
    """

    part: Tensor
    mirrored: bool


def raw_batch(samples: Sequence[tuple[RawClip, Tensor]]) -> tuple[list[RawClip], Tensor]:
    """Collate samples whose parts are of different sizes."""
    clips, labels = zip(*samples, strict=True)
    return list(clips), default_collate(list(labels))


class LookOnDevice:
    """Makes clips of raw ones where they lie, by torchvision.

    Raises:
        MissingExtraError: torchvision is not installed.
    """

    def __init__(self, look: Look):
        self.look = look
        self.change: Any = require("torchvision.transforms.v2.functional", extra="augment")

    def __call__(self, clips: Sequence[RawClip]) -> Tensor:
        """Return (B, C, T, height, width), float32, on the device of the clips."""
        return torch.stack([self._clip(clip) for clip in clips]).transpose(1, 2)

    def _clip(self, clip: RawClip) -> Tensor:
        x_TCHW = clip.part.permute(0, 3, 1, 2)
        x_TCHW = self.change.to_dtype(x_TCHW, torch.float32, scale=True)
        x_TCHW = self.change.resize(x_TCHW, list(self.look.size), antialias=True)
        if clip.mirrored:
            x_TCHW = self.change.horizontal_flip(x_TCHW)
        if self.look.channels == 1:
            # torchvision's own weights differ from these in the fourth digit
            grey = torch.tensor(GREY, device=x_TCHW.device)[:, None, None]
            x_TCHW = (x_TCHW * grey).sum(1, keepdim=True)
        channels = self.look.channels
        mean, std = (list(values) for values in (self.look.mean, self.look.std))
        mean, std = (values * (channels // len(values)) for values in (mean, std))
        return self.change.normalize(x_TCHW, mean, std)
