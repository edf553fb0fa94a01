"""A score against measured time: a line for each way to save it, and networks as points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lean3d.errors import RunError
from lean3d.report.drawing import INK, color, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Measured", "draw_trade_off"]

MARKS = "os^Dv<>P"


@dataclass(frozen=True)
class Measured:
    """A network: the line it is on, its time and its score; a line of one network is a point."""

    line: str
    ms: float
    score: float


def draw_trade_off(points: Sequence[Measured], ylabel: str, first: str = "") -> "Figure":
    """Draw milliseconds on a log axis against a score, the higher the better.

    Args:
        first: The line that is drawn thick.
    """
    if not points or min(point.ms for point in points) <= 0:
        raise RunError("a curve needs networks with times above 0")
    figure = new_figure(7.5, 4.6)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    lines = list(dict.fromkeys(point.line for point in points))
    for number, line in enumerate(lines):
        own = sorted((p for p in points if p.line == line), key=lambda p: p.ms)
        style: dict[str, Any] = dict(color=color(number), marker=MARKS[number % len(MARKS)], ms=6)
        style |= dict(lw=2.4 if line == first else 1.2, zorder=3 if line == first else 2)
        axes.plot([p.ms for p in own], [p.score for p in own], label=line, **style)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK)
    plain_axes(axes, "ms of a pass, log scale (left is faster)", ylabel)
    axes.margins(0.08, 0.1)
    return figure
