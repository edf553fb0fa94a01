"""Training curves: loss and score against the epoch, one colour a run."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lean3d.errors import RunError
from lean3d.report.drawing import color, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_curves"]

Rows = Sequence[Mapping[str, Any]]

TITLES = {
    "val_auc": "Validation AUC",
    "val_dice": "Validation Dice, foreground mean",
    "val_map": "Validation mAP",
    "val_top1": "Validation top-1",
}


def draw_curves(runs: Mapping[str, Rows], score: str = "val_dice") -> "Figure":
    """Left the loss (training dashed, validation solid), right the validation score.

    Args:
        runs: Name of a run -> its rows, with epoch, train_loss, val_loss and the score; epochs
            where a value is missing or NaN are skipped.
        score: Key of the score.

    Raises:
        RunError: there is no run, or none has an epoch.
    """
    if not any(runs.values()):
        raise RunError("draw_curves needs at least one run with at least one epoch, got none")
    figure = new_figure(9.5, 4.0)
    loss, dice = figure.subplots(1, 2)
    for index, (name, rows) in enumerate(runs.items()):
        _line(loss, rows, "train_loss", color=color(index), linestyle=(0, (3, 2)), linewidth=1.2)
        _line(loss, rows, "val_loss", color=color(index), linewidth=1.8)
        _line(dice, rows, score, color=color(index), linewidth=1.8, label=name)
    what = TITLES.get(score, score.replace("_", " "))
    titles = "Loss (dashed training, solid validation)", what
    for axes, title in zip((loss, dice), titles, strict=True):
        plain_axes(axes, "epoch", "")
        axes.set_title(title, loc="left", fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    handles, names = dice.get_legend_handles_labels()
    columns = 3 if len(names) > 4 else 4
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
    figure.set_layout_engine("constrained")
    return figure


def _line(axes: "Axes", rows: Rows, key: str, **style: Any) -> None:
    """Draw even when empty, so that every run has its entry in the legend."""
    points = [(row["epoch"], row[key]) for row in rows if _known(row.get(key))]
    # a run of one epoch is a dot, not an invisible line
    marker = "o" if len(points) < 15 else None
    axes.plot(*zip(*points, strict=True) if points else ([], []), marker=marker, ms=3.5, **style)


def _known(value: Any) -> bool:
    return value is not None and math.isfinite(value)
