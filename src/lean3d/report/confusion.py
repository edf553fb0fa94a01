"""A confusion matrix, and ROC curves, as figures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lean3d.report.drawing import INK, color, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_confusion", "draw_roc"]

# classes up to which each cell has its number
NUMBERED = 12


def draw_confusion(counts_KK: object, names: Sequence[str], what: str) -> "Figure":
    """Share of each true class (rows) by predicted class (columns), rows of sum 1.

    Args:
        what: What is counted, such as "voxels".

    Shape: counts (K, K).
    """
    counts = np.asarray(counts_KK, dtype=float)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = min(2.2 + 0.55 * len(names), 8.0)
    figure = new_figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares, "Blues", vmin=0, vmax=1)
    size = 9 if len(names) <= NUMBERED else 6
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel(f"true (share of its {what})", color=INK)
    if len(names) <= NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            ink = "white" if share > 0.55 else INK
            text = "-" if not totals[row] else f"{share:.2f}"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    figure.set_layout_engine("constrained")
    return figure


def draw_roc(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> "Figure":
    """ROC curves on equal axes.

    Args:
        curves: Name in the legend -> false and true positive rates.
    """
    figure = new_figure(4.8, 4.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for index, (name, (false, true)) in enumerate(curves.items()):
        axes.plot(false, true, color=color(index), linewidth=1.8, label=name)
    plain_axes(axes, "false positive rate", "true positive rate")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.set_layout_engine("constrained")
    return figure
