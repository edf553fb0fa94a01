"""The section of README and the figure about overfitting, from the results alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["LAST", "draw", "level", "rise", "section"]

# epochs at the end whose mean counts
LAST = 5


def level(curve: Sequence[float]) -> float:
    """The mean of the last epochs."""
    end = curve[-LAST:]
    return sum(end) / len(end)


def rise(curve: Sequence[float]) -> float:
    """How far the last epochs are above the lowest one, as a share of it."""
    return level(curve) / min(curve) - 1


def section(results: Results) -> str:
    """Errors at the end, and how far the validation loss has turned."""
    names = list(dict.fromkeys(entry["name"] for entry in results.entries))
    rows = []
    for name in names:
        curves: dict[str, list[Any]] = {
            key: results.values(name, key) for key in ("train_loss", "loss", "error")
        }
        lowest = [1 + loss.index(min(loss)) for loss in curves["loss"]]
        rows.append(
            {
                "network": name,
                "parameters": f"{results.values(name, 'params')[0]:,}",
                "training loss": spread([level(c) for c in curves["train_loss"]], 3, scale=1),
                "validation loss": spread([level(c) for c in curves["loss"]], 2, scale=1),
                "lowest in epoch": ", ".join(map(str, lowest)),
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
        ]
    )


def draw(results: Results, path: Path) -> None:
    """Left the losses, in training dashed; right the validation error; a line a seed."""
    figure = new_figure(11, 4)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(entry["name"] for entry in results.entries))
    for index, name in enumerate(names):
        for key, axes, style in (
            ("train_loss", left, "--"),
            ("loss", left, "-"),
            ("error", right, "-"),
        ):
            for seed, curve in enumerate(results.values(name, key)):
                shown = [100 * value for value in curve] if key == "error" else curve
                label = name if not seed and style == "-" else None
                epochs = range(1, len(curve) + 1)
                axes.plot(epochs, shown, style, color=color(index), lw=1, label=label)
    plain_axes(left, "epoch", "cross-entropy: validation, and training (dashed)")
    plain_axes(right, "epoch", "validation error (%)")
    left.set_yscale("log")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
