"""What part of its frames a clip shows, at what size: crops as the papers make them.

Every crop is a box of the frame, resized at once, so that only its own pixels are resized.

- "scales": a square (or rectangle) at a random place, its side a share of the largest one from
  SCALES (Köpüklü et al., D3D, arXiv:2009.14639, Sec 3.3).
- "corners": one of the same scales in one of the four corners or the middle (Wang et al., Temporal
  Segment Networks, arXiv:1608.00859, Sec 4.2; Hara et al., arXiv:1711.09577).
- "short_side": the frame is scaled so that its shorter side is drawn from a range, then a crop of
  the size lies at a random place (Tran et al., CSN, arXiv:1904.02811, Sec 4.1).
- "middle": the largest middle, without variation.

Axes: C channels, T time, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lean3d.data.pixels import MEAN, STD
from lean3d.errors import DataError

__all__ = ["SCALES", "Box", "Crop", "Look"]

SCALES = (1.0, 2**-0.25, 2**-0.75, 0.5)
# ITU-R BT.601
GREY = (0.299, 0.587, 0.114)

Crop = Literal["scales", "corners", "short_side", "middle"]


class Box(NamedTuple):
    """A rectangle of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Look:
    """Size, crop and colours of clips.

    Args:
        size: Height and width.
        crop: How a part is drawn in training.
        short_side: To which the shorter side of the frame is scaled before the crop: its smallest
            and largest value in training, the smallest otherwise. None: the crop is as large as the
            frame.
        flip: Mirror every second clip in training.
        directed: Numbers of classes with a direction, whose clips are never mirrored.
        channels: 3, or 1 for grey.
        mean: Of each channel of pixels from 0 to 1.
        std: Likewise.
    """

    size: tuple[int, int]
    crop: Crop = "scales"
    short_side: tuple[int, int] | None = None
    flip: bool = False
    directed: frozenset[int] = field(default=frozenset())
    channels: int = 3
    mean: tuple[float, ...] = (MEAN,)
    std: tuple[float, ...] = (STD,)

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.channels not in (1, 3):
            raise DataError(
                f"a clip has a size of 1 or more and 1 or 3 channels, got {self.size} and "
                f"{self.channels}"
            )
        if self.crop == "short_side" and self.short_side is None:
            raise DataError("crop short_side needs short_side, such as (256, 320)")
        if self.short_side is not None and not 1 <= self.short_side[0] <= self.short_side[1]:
            raise DataError(f"short_side is a range from 1 on, got {self.short_side}")

    def random(self, frame_hw: Sequence[int], draw: np.random.Generator) -> Box:
        """Draw a box of a frame."""
        if self.crop == "middle":
            return self.middle(frame_hw)
        if self.crop == "short_side":
            assert self.short_side is not None
            low, high = self.short_side
            height, width = self._scaled(frame_hw, int(draw.integers(low, high + 1)))
        else:
            height, width = _shrunk(self._largest(frame_hw), float(draw.choice(SCALES)))
        down, right = frame_hw[0] - height, frame_hw[1] - width
        if self.crop == "corners":
            corners = (0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)
            return Box(*corners[int(draw.integers(len(corners)))], height, width)
        return Box(int(draw.integers(down + 1)), int(draw.integers(right + 1)), height, width)

    def middle(self, frame_hw: Sequence[int]) -> Box:
        """Return the box in the middle."""
        height, width = self._fixed(frame_hw)
        return Box((frame_hw[0] - height) // 2, (frame_hw[1] - width) // 2, height, width)

    def three(self, frame_hw: Sequence[int]) -> list[Box]:
        """Return the boxes at both ends and in the middle of the longer side."""
        height, width = self._fixed(frame_hw)
        down, right = frame_hw[0] - height, frame_hw[1] - width
        middle = self.middle(frame_hw)
        if frame_hw[1] >= frame_hw[0]:
            return [middle._replace(left=left) for left in (0, right // 2, right)]
        return [middle._replace(top=top) for top in (0, down // 2, down)]

    def mirrors(self, label: int, draw: np.random.Generator) -> bool:
        """Draw whether a clip of a class is mirrored."""
        return self.flip and label not in self.directed and bool(draw.random() < 0.5)

    def apply(self, frames: Sequence[Tensor], box: Box, mirrored: bool = False) -> Tensor:
        """Return a clip (C, T, height, width), float32, normalised.

        Args:
            frames: (H, W, 3) uint8 each; those of another size than the first are resized to it.
        """
        x_TCHW = self.part(frames, box).permute(0, 3, 1, 2).to(torch.float32) / 255
        if tuple(x_TCHW.shape[2:]) != self.size:
            x_TCHW = F.interpolate(
                x_TCHW, self.size, mode="bilinear", antialias=True, align_corners=False
            )
        if self.channels == 1:
            x_TCHW = (x_TCHW * torch.tensor(GREY)[:, None, None]).sum(1, keepdim=True)
        x_CTHW = (x_TCHW.flip(-1) if mirrored else x_TCHW).transpose(0, 1)
        mean, std = (torch.tensor(values)[:, None, None, None] for values in (self.mean, self.std))
        return ((x_CTHW - mean) / std).contiguous()

    @staticmethod
    def part(frames: Sequence[Tensor], box: Box) -> Tensor:
        """Return what a box shows, as it was decoded: (T, height, width, 3) uint8 of the box.

        Args:
            frames: As `apply` takes them.
        """
        first_hw = frames[0].shape[:2]
        return torch.stack([_part(frame_HWC, first_hw, box) for frame_HWC in frames])

    def _fixed(self, frame_hw: Sequence[int]) -> tuple[int, int]:
        if self.short_side is None:
            return self._largest(frame_hw)
        return self._scaled(frame_hw, self.short_side[0])

    def _largest(self, frame_hw: Sequence[int]) -> tuple[int, int]:
        part = min(frame_hw[0] / self.size[0], frame_hw[1] / self.size[1])
        height, width = _shrunk(self.size, part)
        return min(height, frame_hw[0]), min(width, frame_hw[1])

    def _scaled(self, frame_hw: Sequence[int], short_side: int) -> tuple[int, int]:
        """Return the pixels of the frame that a crop of the size shows after scaling."""
        height, width = _shrunk(self.size, min(frame_hw[:2]) / short_side)
        if height > frame_hw[0] or width > frame_hw[1]:
            return self._largest(frame_hw)
        return height, width


def _shrunk(size: tuple[int, int], part: float) -> tuple[int, int]:
    return max(round(part * size[0]), 1), max(round(part * size[1]), 1)


def _part(frame_HWC: Tensor, first_hw: Sequence[int], box: Box) -> Tensor:
    if tuple(frame_HWC.shape[:2]) != tuple(first_hw):
        x_1CHW = frame_HWC.permute(2, 0, 1).unsqueeze(0).float()
        whole = F.interpolate(
            x_1CHW, tuple(first_hw), mode="bilinear", antialias=True, align_corners=False
        )
        frame_HWC = whole[0].permute(1, 2, 0).round().to(torch.uint8)
    top, left, height, width = box
    return frame_HWC[top : top + height, left : left + width]
