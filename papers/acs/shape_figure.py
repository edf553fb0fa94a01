"""The figure of claims 2 and 3: validation Dice by epoch, and test Dice beside the paper's."""

from pathlib import Path

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.acs.feature_figure import draw_bars
from papers.acs.shape_text import PAPER
from papers.curves import draw_seeds
from papers.results import Results

__all__ = ["draw_shapes"]


def draw_shapes(results: Results, path: Path, names: tuple[str, ...]) -> None:
    """Left a thin line a seed and a thick one for their mean, right a dot a seed."""
    figure = new_figure(11, 4)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    for index, name in enumerate(names):
        curves = results.values(name, "curve")
        draw_seeds(left, range(1, max(map(len, curves), default=0) + 1), curves, color(index), name)
    plain_axes(left, "epoch", "Dice on validation volumes")
    left.set_ylim(0, 1)
    left.legend(frameon=False, fontsize=8, loc="lower right")
    ours = {name: results.values(name, "dice") for name in names}
    draw_bars(right, ours, {name: dice for name, (dice, _) in PAPER.items()}, "test Dice (%)")
    right.set_ylim(0, 100)
    save_figure(figure, path)
