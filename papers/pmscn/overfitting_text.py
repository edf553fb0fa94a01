"""The section of README and the figure about overfitting, from the results alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.curves import draw_seeds
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["LAST", "draw", "level", "lowest", "rise", "section"]

# epochs at the end whose mean counts
LAST = 5
CURVES = (
    ("train_loss", "training loss"),
    ("loss", "validation loss"),
    ("error", "validation error (%)"),
)


def level(curve: Sequence[float]) -> float:
    """The mean of the last epochs."""
    end = curve[-LAST:]
    return sum(end) / len(end)


def rise(curve: Sequence[float]) -> float:
    """How far the last epochs are above the lowest ones, as a share of them.

    Of as many epochs each: a single lowest one would be below the others by chance alone.
    """
    return level(curve) / min(_means(curve)) - 1


def lowest(curve: Sequence[float]) -> int:
    """The last of the epochs, from 1, whose mean is lowest."""
    means = _means(curve)
    return means.index(min(means)) + min(LAST, len(curve))


def _means(curve: Sequence[float]) -> list[float]:
    return [level(curve[:end]) for end in range(min(LAST, len(curve)), len(curve) + 1)]


def section(results: Results) -> str:
    """Errors at the end, and how far the validation loss has turned."""
    names = list(dict.fromkeys(entry["name"] for entry in results.entries))
    rows = []
    for name in names:
        curves: dict[str, list[Any]] = {
            key: results.values(name, key) for key in ("train_loss", "loss", "error")
        }
        rows.append(
            {
                "network": name,
                "parameters": f"{results.values(name, 'params')[0]:,}",
                "training loss": spread([level(c) for c in curves["train_loss"]], 3, scale=1),
                "validation loss": spread([level(c) for c in curves["loss"]], 2, scale=1),
                "lowest up to epoch": ", ".join(str(lowest(loss)) for loss in curves["loss"]),
                "risen since (%)": spread([rise(c) for c in curves["loss"]], 0),
                "validation error (%)": spread([level(c) for c in curves["error"]]),
            }
        )
    settings = results.settings
    return "\n\n".join(
        [
            table(rows),
            f"Means of the last {LAST} of {settings['epochs']} epochs, and their standard "
            f"deviation over seeds. {settings['clips']} clips of {settings['frames']} x "
            f"{settings['size']} x {settings['size']} to train on, {settings['tests']} to validate "
            f"on; widths {settings['widths']}, batches of {settings['batch']}, Adam at "
            f"{settings['lr']:g}. {measured_by(results.entries)}",
            f"![losses and errors by epoch]({results.path.stem}.png)",
        ]
    )


def draw(results: Results, path: Path) -> None:
    """Losses in training and in validation, and the validation error (Fig 4a), by epoch.

    A thick line is the mean of the seeds, a thin one a seed.
    """
    figure = new_figure(12, 3.8)
    figure.set_layout_engine("constrained")
    panels = dict(zip(CURVES, figure.subplots(1, 3), strict=True))
    names = list(dict.fromkeys(entry["name"] for entry in results.entries))
    for (key, ylabel), axes in panels.items():
        for index, name in enumerate(names):
            scale = 100 if key == "error" else 1
            curves = [[scale * value for value in c] for c in results.values(name, key)]
            draw_seeds(axes, range(1, len(curves[0]) + 1), curves, color(index), name)
        plain_axes(axes, "epoch", ylabel)
    panels[CURVES[0]].set_yscale("log")
    # what the first epochs have beyond it, before batch norm has settled, is of no interest
    panels[CURVES[1]].set_ylim(1, 6)
    panels[CURVES[2]].legend(frameon=False, fontsize=8)
    save_figure(figure, path)
