"""Turn pictures the way they are shown: cameras held upright store them lying down.

Axes: H height, W width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lean3d.optional import require

__all__ = ["UPRIGHT", "Turn", "turn_of_frame", "turn_of_image"]

ORIENTATION = 0x0112


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to lay a rectangle: rows and columns swapped first, then mirrored."""

    swap: bool = False
    mirror: bool = False
    upside_down: bool = False

    def apply(self, pixels_HWC: Tensor) -> Tensor:
        """Return the picture as it is shown. Shape: (H, W, C) -> (H, W, C) or (W, H, C)"""
        axes = [axis for axis, flips in enumerate((self.upside_down, self.mirror)) if flips]
        turned = pixels_HWC.transpose(0, 1) if self.swap else pixels_HWC
        return turned.flip(axes) if axes else turned.contiguous()


UPRIGHT = Turn()
# EXIF 2.32, tag Orientation
BY_ORIENTATION = {
    2: Turn(mirror=True),
    3: Turn(mirror=True, upside_down=True),
    4: Turn(upside_down=True),
    5: Turn(swap=True),
    6: Turn(swap=True, mirror=True),
    7: Turn(swap=True, mirror=True, upside_down=True),
    8: Turn(swap=True, upside_down=True),
}


def turn_of_frame(frame: Any) -> Turn:
    """Return the turn that a video's display matrix asks for; only quarter turns and mirrors."""
    try:
        found = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know the kind of some other side data
        found = None
    if found is None:
        return UPRIGHT
    # x is shown at a x + c y, y at b x + d y (ISO/IEC 14496-12, tkhd)
    (a, b), (c, d) = np.frombuffer(bytes(found), np.int32).reshape(3, 3)[:2, :2].tolist()
    if a == d == 0 and b and c:
        return Turn(True, mirror=c < 0, upside_down=b < 0)
    if b == c == 0 and a and d:
        return Turn(False, mirror=a < 0, upside_down=d < 0)
    return UPRIGHT


def turn_of_image(path: Path) -> Turn:
    """Return the turn that an image's EXIF orientation asks for."""
    images = require("PIL.Image", extra="video")
    try:
        with images.open(path) as image:
            return BY_ORIENTATION.get(image.getexif().get(ORIENTATION), UPRIGHT)
    except (OSError, ValueError, SyntaxError, images.DecompressionBombError):
        return UPRIGHT  # the decoder has read it, and says what is wrong where it has not
