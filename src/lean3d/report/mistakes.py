"""Frames of a video in a row.

Axes: H height, W width.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lean3d.report.drawing import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_mistake"]


def draw_mistake(frames: Sequence[Tensor]) -> "Figure":
    """Draw frames (H, W, 3), uint8, side by side."""
    figure = new_figure(1.4 * len(frames), 1.4)
    for place, axes in enumerate(figure.subplots(1, len(frames), squeeze=False)[0]):
        axes.imshow(frames[place].numpy())
        axes.set_axis_off()
    return figure
