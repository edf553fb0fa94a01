"""Pictures with a map painted over them.

Axes: H height, W width.
"""

from typing import TYPE_CHECKING

import numpy as np

from lean3d.optional import require
from lean3d.report.drawing import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_heat", "paint_heat"]

# blue to yellow, readable with any colour blindness and in grey
COLOURS = "plasma"
# how much of the picture the strongest colour hides
HIDES = 0.6


def paint_heat(picture: np.ndarray, heat_HW: np.ndarray) -> np.ndarray:
    """Paint a map of values from 0 to 1 over a picture; where it is 0 the picture stays.

    Shape: (H, W) or (H, W, 3) uint8, and (H, W) -> (H, W, 3) uint8.
    """
    picture = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)
    colours = require("matplotlib", extra="train").colormaps[COLOURS]
    share = HIDES * np.clip(heat_HW, 0, 1)[..., None]
    painted = (1 - share) * picture + share * 255 * colours(heat_HW)[..., :3]
    return painted.round().astype(np.uint8)


def draw_heat(pictures: list[np.ndarray], painted: list[np.ndarray], names: list[str]) -> "Figure":
    """Draw pictures in a row, and below them the same with the map."""
    height, width = pictures[0].shape[:2]
    side = min(2.2, 16 / len(pictures))
    figure = new_figure(side * len(pictures), 2 * side * height / width + 0.3)
    rows = figure.subplots(2, len(pictures), squeeze=False)
    for row, images in zip(rows, (pictures, painted), strict=True):
        for axes, image in zip(row, images, strict=True):
            axes.imshow(image, cmap="gray", interpolation="nearest")
            axes.set_axis_off()
    for axes, name in zip(rows[0], names, strict=True):
        axes.set_title(name, fontsize=8)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.3 / figure.get_figheight(), 0.02, 0.02)
    return figure
