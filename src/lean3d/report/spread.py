"""Scores of many cases: one dot each, by class, and pairs of two networks."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lean3d.errors import RunError
from lean3d.report.drawing import INK, color, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_pairs", "draw_spread"]


def draw_spread(values: Mapping[str, Sequence[float]], xlabel: str) -> "Figure":
    """One line of dots a class, with their quartiles as a box.

    Args:
        values: Class -> the score of each case; those that are NaN are left out and counted.

    Raises:
        RunError: there is no class.
    """
    if not values:
        raise RunError("draw_spread needs at least one class, got none")
    figure = new_figure(7.0, 0.9 + 0.5 * len(values))
    axes = figure.subplots()
    random = np.random.default_rng(0)
    names = []
    for row, (name, scores) in enumerate(values.items()):
        known = np.array([s for s in scores if s is not None and math.isfinite(s)])
        missing = len(scores) - len(known)
        names.append(f"{name} ({missing} without)" if missing else name)
        if not len(known):
            continue
        box = dict(color=color(row), linewidth=1.2)
        style: dict[str, Any] = dict(
            boxprops=box, whiskerprops=box, medianprops=dict(color=INK), capprops=box
        )
        axes.boxplot(
            [known],
            orientation="horizontal",
            positions=[row],
            widths=0.5,
            showfliers=False,
            **style,
        )
        places = row + random.uniform(-0.12, 0.12, len(known))
        axes.scatter(known, places, s=16, color=color(row), alpha=0.7, linewidths=0)
    plain_axes(axes, xlabel, "")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    figure.set_layout_engine("constrained")
    return figure


def draw_pairs(pairs: Sequence[tuple[float, float]], xlabel: str, ylabel: str) -> "Figure":
    """One dot a case: its score by one network against its score by another, on equal axes."""
    known = [pair for pair in pairs if all(map(math.isfinite, pair))]
    figure = new_figure(4.6, 4.6)
    axes = figure.subplots()
    if known:
        low, high = min(map(min, known)), max(map(max, known))
        room = 0.05 * (high - low) or 0.05
        axes.plot([low - room, high + room], [low - room, high + room], color="#999999", lw=1)
        across, up = zip(*known, strict=True)
        axes.scatter(across, up, s=24, color=color(3), alpha=0.7, linewidths=0)
        limits = (low - room, high + room)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        # scores that differ by little have long numbers
        axes.locator_params(nbins=4)
    plain_axes(axes, xlabel, ylabel)
    figure.set_layout_engine("constrained")
    return figure
