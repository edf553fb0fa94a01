"""The figures of the gestures: cost against accuracy, Fig 7 and Fig 6 of D3D."""

from pathlib import Path
from typing import Any

from lean3d.report import Point, draw_pareto
from lean3d.report.drawing import color, new_figure, plain_axes, save_figure

__all__ = ["draw_causality", "draw_cost", "draw_lengths"]


def draw_cost(found: dict[str, Any], path: Path) -> None:
    """Multiply-adds of one more answer against the share of videos named right."""
    points = [Point(r["network"], r["MACs per answer"], r["top-1"]) for r in found["networks"]]
    save_figure(draw_pareto(points, ylabel="top-1 on test videos", per="answer"), path)


def draw_causality(found: dict[str, Any], path: Path) -> None:
    """Left the accuracy in ten parts of the video, right with its middle erased."""
    figure = new_figure(9.5, 4.0)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    shown = [name for name in found["segments"] if name == "fc" or name.startswith("2-layer")]
    for index, name in enumerate(shown):
        style: dict[str, Any] = dict(color=color(index), marker="o", ms=4, label=name)
        left.plot(range(1, 11), found["segments"][name], **style)
        right.plot([100 * s for s in found["erased"]], found["erasure"][name], **style)
    plain_axes(left, "tenth of the video", "top-1 by the mean of its answers")
    plain_axes(right, "middle of the features erased (%)", "top-1 of the video")
    for axes in (left, right):
        axes.axhline(found["chance"], color="#999999", lw=1, ls=(0, (3, 2)))
        axes.set_ylim(0, 1)
    left.legend(frameon=False)
    save_figure(figure, path)


def draw_lengths(found: dict[str, Any], path: Path) -> None:
    """Features of a training piece against the accuracy on whole videos."""
    figure = new_figure(5.0, 3.6)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    lengths = found["lengths"]
    axes.plot([int(n) for n in lengths], list(lengths.values()), color=color(3), marker="o", ms=5)
    plain_axes(axes, "features of a training piece", "top-1 on whole videos, 2-layer LSTM")
    axes.set_ylim(0, 1)
    save_figure(figure, path)
