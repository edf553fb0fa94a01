"""One picture of a slice: grey image, coloured classes, letters at the edges."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lean3d.report.views import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_classes", "draw_edges", "draw_grey", "draw_scale"]

# positions of left, right, top and bottom, in shares of the panel
PLACES = ((0.025, 0.5), (0.975, 0.5), (0.5, 0.97), (0.5, 0.03))
ALIGN = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))


def draw_grey(axes: "Axes", image_HW: np.ndarray, window, size: tuple[float, float]) -> None:
    """Draw the image in its window, in millimetres, without axes."""
    low, high = window
    extent = (0, size[0], size[1], 0)
    axes.imshow(image_HW, "gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
    axes.set_axis_off()


def draw_classes(
    axes: "Axes", label_HW: np.ndarray, colours: Mapping[int, str], size, fill: float
) -> None:
    """Each class as a light fill with a thin outline along its voxels."""
    from matplotlib.colors import to_rgba

    extent = (0, size[0], size[1], 0)
    for label, color in colours.items():
        inside = label_HW == label
        if not inside.any():
            continue
        tint = np.zeros((*inside.shape, 4))
        tint[inside] = to_rgba(color, fill)
        axes.imshow(tint, extent=extent, interpolation="nearest")
        _outline(axes, inside, color, size)


def _outline(axes: "Axes", inside_HW: np.ndarray, color: str, size: tuple[float, float]) -> None:
    """Follow the voxels' edges; a border of zeros closes outlines at the picture's edge."""
    height, width = inside_HW.shape
    framed = np.pad(inside_HW.astype(float), 1)
    x = (np.arange(-1, width + 1) + 0.5) * size[0] / width
    y = (np.arange(-1, height + 1) + 0.5) * size[1] / height
    axes.contour(x, y, framed, levels=[0.5], colors=[color], linewidths=0.8)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))


def draw_edges(axes: "Axes", view: View) -> None:
    """Draw R L A P S I at their places."""
    for letter, (x, y), (ha, va) in zip(view.edges, PLACES, ALIGN, strict=True):
        # a fixed-width I has serifs, a plain one is a bar
        font = dict(family="monospace", fontsize=10, fontweight="bold")
        _white(axes, x, y, letter, ha=ha, va=va, **font)


def draw_scale(axes: "Axes", size: tuple[float, float], unit: str) -> None:
    """A bar of a round length, about a fifth of the width, in the lower right corner."""
    length = next(n for n in (100, 50, 20, 10, 5, 2, 1, size[0] / 4) if n <= size[0] / 3)
    right, low = size[0] * 0.97, size[1] * 0.95
    axes.plot([right - length, right], [low, low], color="white", linewidth=2)
    text = f"{length:g} {unit}"
    _white(axes, 0.97, 0.065, text, ha="right", va="bottom", fontsize=8)


def _white(axes: "Axes", x: float, y: float, text: str, **style) -> None:
    from matplotlib.patheffects import withStroke

    edge = [withStroke(linewidth=2, foreground="black")]
    axes.text(x, y, text, transform=axes.transAxes, color="white", path_effects=edge, **style)
