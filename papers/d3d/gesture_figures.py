"""The figures of the gestures: cost against accuracy, Fig 7 and Fig 6 of D3D."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.d3d.gesture_text import (
    NETWORKS,
    VARIANTS,
    by_head,
    length_curves,
    measured_variants,
)
from papers.results import Results

__all__ = ["draw"]

SCORES = {"top-1": "test videos named (%)", "one clip": "validation clips named (%)"}
TICKS = (1, 2, 5, 10, 20, 40)


def draw(results: Results, path: Path) -> None:
    """What there is: `path`_cost, _causality and _lengths; of variants _skips too."""
    _draw_cost(results, path.with_name(f"{path.name}_cost"))
    if len(measured_variants(results)) > 1:
        _draw_skips(results, path.with_name(f"{path.name}_skips"))
    if results.values("heads", "heads"):
        _draw_causality(results, path.with_name(f"{path.name}_causality"))
        _draw_lengths(results, path.with_name(f"{path.name}_lengths"))


def _draw_cost(results: Results, path: Path) -> None:
    """Multiply-adds of one more answer against accuracy: left of whole videos, right of clips."""
    figure = new_figure(10, 4.0)
    figure.set_layout_engine("constrained")
    panels = dict(zip(SCORES.items(), figure.subplots(1, 2), strict=True))
    for (key, ylabel), axes in panels.items():
        for index, (name, (title, _)) in enumerate(NETWORKS.items()):
            values = [100 * value for value in results.values(name, key)]
            if values:
                x = results.values(name, "MACs per answer")[0] / 1e6
                axes.plot([x] * len(values), values, "o", ms=4, color=color(index), alpha=0.6)
                axes.plot([x], [_mean(values)], "_", ms=22, mew=3, color=color(index), label=title)
        plain_axes(axes, "million multiply-adds of one more answer", ylabel)
        axes.set_xscale("log")
        axes.set_xlim(1, 60)
        axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axes.minorticks_off()
    next(reversed(panels.values())).legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _draw_skips(results: Results, path: Path) -> None:
    """The three skips in each variant: a bar for the mean, a dot a seed."""
    figure = new_figure(9, 3.8)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    for place, ending in enumerate(VARIANTS):
        for index, skip in enumerate(("concat", "none", "sum")):
            values = [100 * value for value in results.values(skip + ending, "top-1")]
            x = place + 0.27 * (index - 1)
            label = skip if not place else None
            if values:
                axes.bar(x, _mean(values), width=0.24, alpha=0.6, color=color(index), label=label)
                axes.plot([x] * len(values), values, "o", ms=4, mec="white", color=color(index))
    plain_axes(axes, "", "top-1 on test videos (%)")
    titles = [title.replace(", ", ",\n").replace(" at ", "\nat ") for title in VARIANTS.values()]
    axes.set_xticks(range(len(VARIANTS)), titles, fontsize=8)
    axes.legend(frameon=False, fontsize=8, ncols=3)
    axes.set_ylim(0, 110)
    save_figure(figure, path)


def _draw_causality(results: Results, path: Path) -> None:
    """Left the accuracy in ten parts of the video, right with its middle erased."""
    figure = new_figure(9.5, 4.0)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    erased = [100 * share for share in results.values("heads", "erased")[0]]
    panels = (left, "segments", list(range(1, 11))), (right, "erasure", erased)
    for axes, key, x in panels:
        shown = {
            name: curves
            for name, curves in by_head(results, key).items()
            if name == "fc" or name.startswith("2-layer")
        }
        for index, (name, curves) in enumerate(shown.items()):
            for curve in curves:
                axes.plot(x, curve, color=color(index), lw=0.7, alpha=0.5)
            means = [_mean(values) for values in zip(*curves, strict=True)]
            axes.plot(x, means, color=color(index), marker="o", ms=4, label=name)
        axes.axhline(1 / results.settings["classes"], color="#999999", lw=1, ls=(0, (3, 2)))
        axes.set_ylim(0, 1)
    plain_axes(left, "tenth of the video", "top-1 by the mean of its answers")
    plain_axes(right, "middle of the features erased (%)", "top-1 of the video")
    left.legend(frameon=False)
    save_figure(figure, path)


def _draw_lengths(results: Results, path: Path) -> None:
    """Features of a training piece against the accuracy on whole videos."""
    figure = new_figure(5.0, 3.6)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    found = {int(n): values for n, values in length_curves(results).items()}
    style: dict[str, Any] = dict(color=color(3))
    axes.plot(list(found), [_mean(values) for values in found.values()], **style)
    for n, values in found.items():
        axes.plot([n] * len(values), values, "o", ms=4, mec="white", **style)
    plain_axes(axes, "features of a training piece", "top-1 on whole videos, 2-layer LSTM")
    axes.set_ylim(0, 1)
    save_figure(figure, path)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
