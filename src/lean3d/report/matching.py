"""Cumulative matching: how often a right entry is among the first ones."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lean3d.report.drawing import color, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_matching"]


def draw_matching(curves: Mapping[str, Sequence[float]]) -> "Figure":
    """One line a run.

    Args:
        curves: Name in the legend -> share of the queries at ranks 1, 2, ...
    """
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    for index, (name, shares) in enumerate(curves.items()):
        ranks = range(1, len(shares) + 1)
        axes.plot(ranks, shares, color=color(index + 3), marker="o", markersize=3, label=name)
    plain_axes(axes, "rank", "share of queries")
    axes.set_ylim(0, 1.03)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.set_layout_engine("constrained")
    return figure
