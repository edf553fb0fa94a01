"""Pictures of a segmentation into instances: its scores by threshold, and its worst mistakes.

Axes: D depth (sections), H height, W width.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lean3d.errors import ShapeError
from lean3d.report.drawing import color, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_instances", "draw_split_merge", "paint_instances"]


def draw_split_merge(curves: Mapping[str, Sequence[tuple[float, float, str]]]) -> "Figure":
    """Variation of information by threshold: splits against merges, a curve for each run.

    Args:
        curves: Name -> points (merge, split, label of the point), in bits.
    """
    figure = new_figure(5.5, 4.0)
    axes = figure.subplots()
    for index, (name, points) in enumerate(curves.items()):
        merge, split, _ = zip(*points, strict=True)
        axes.plot(merge, split, marker="o", ms=4, color=color(index), label=name)
        for x, y, text in points:
            axes.annotate(text, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
    plain_axes(axes, "VI merge (bits)", "VI split (bits)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    if len(curves) > 1:
        axes.legend(frameon=False)
    figure.set_layout_engine("constrained")
    return figure


def draw_instances(
    image_HW: np.ndarray, truth_HW: np.ndarray, found_HW: np.ndarray, *, aspect: float = 1.0
) -> "Figure":
    """A section with its true and its found instances, each in a colour of its own.

    Args:
        aspect: Height of a pixel in widths.

    Raises:
        ShapeError: the three are not images of one shape.
    """
    if not (image_HW.ndim == 2 and image_HW.shape == truth_HW.shape == found_HW.shape):
        raise ShapeError(
            "draw_instances takes image, truth and segmentation of one shape (H, W), got "
            f"{image_HW.shape}, {truth_HW.shape} and {found_HW.shape}"
        )
    height, width = image_HW.shape
    tall = 3.2 * aspect * height / width
    figure = new_figure(9.6, min(max(tall, 1.2), 6.0) + 0.3)
    panels = figure.subplots(1, 3)
    labels = (None, truth_HW, found_HW)
    for axes, label, title in zip(panels, labels, ("Image", "Truth", "Found"), strict=True):
        axes.imshow(image_HW, cmap="gray", aspect=aspect, interpolation="nearest")
        if label is not None:
            axes.imshow(paint_instances(label), aspect=aspect, interpolation="nearest")
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_axis_off()
    figure.set_layout_engine("constrained")
    return figure


def paint_instances(label: np.ndarray) -> np.ndarray:
    """Return RGBA with a colour for each number, the same in all pictures; 0 is clear."""
    numbers = label.astype(np.uint64)
    # any odd constant scatters consecutive numbers
    mixed = (numbers * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    parts = [(mixed >> np.uint64(shift)) & np.uint64(255) for shift in (0, 8, 16)]
    paint = np.stack([*parts, np.full(label.shape, 255)], -1).astype(np.float64) / 255
    paint[..., 3] = np.where(label > 0, 0.5, 0)
    return paint
