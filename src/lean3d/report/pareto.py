"""Cost against quality, and the Pareto front."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lean3d.errors import RunError
from lean3d.report.drawing import COLOURS, new_figure, plain_axes
from lean3d.report.labels import place_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Point", "draw_pareto", "front"]


@dataclass(frozen=True)
class Point:
    """A model: its name, its cost and its quality."""

    name: str
    macs: float
    dice: float


def front(points: Sequence[Point]) -> list[Point]:
    """Return the Pareto front: cheapest first, each better than all cheaper ones."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.macs, -point.dice)):
        if not best or point.dice > best[-1].dice:
            best.append(point)
    return best


def draw_pareto(points: Sequence[Point], ylabel: str = "mean Dice", per: str = "input") -> "Figure":
    """Multiply-adds on a log axis against Dice; the front is a line, points below it are hollow.

    Raises:
        RunError: no point has multiply-adds above 0 and a finite Dice.
    """
    shown = [p for p in points if math.isfinite(p.dice) and math.isfinite(p.macs) and p.macs > 0]
    if not shown:
        raise RunError("draw_pareto needs a point with positive MACs and a finite Dice, got none")
    figure = new_figure(7.5, 4.6)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    scale, prefix = _unit(max(point.macs for point in shown))
    best = front(shown)
    rest = [point for point in shown if point not in best]
    xy = [(point.macs / scale, point.dice) for point in best]
    axes.plot(*zip(*xy, strict=True), color=COLOURS[3], marker="o", ms=7, lw=1.4, label="front")
    style: dict[str, Any] = dict(ls="none", marker="o", ms=7, mfc="white", mec=COLOURS[5], mew=1.6)
    axes.plot([p.macs / scale for p in rest], [p.dice for p in rest], label="beaten", **style)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    plain_axes(axes, f"{prefix}MACs per {per}, log scale (left is cheaper)", ylabel)
    axes.margins(0.16, 0.14)
    _few_ticks(axes)
    names = [point.name for point in (*best, *rest)]
    place_labels(axes, [*xy, *((p.macs / scale, p.dice) for p in rest)], names)
    return figure


def _few_ticks(axes) -> None:
    """Use plain numbers instead of powers of ten, and enough of them on a short axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _unit(value: float) -> tuple[float, str]:
    units = (1e9, "G"), (1e6, "M"), (1e3, "k")
    return next((unit for unit in units if value >= unit[0]), (1, ""))
