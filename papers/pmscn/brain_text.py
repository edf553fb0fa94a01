"""The section of README and the figure about brain tissue, from the results alone."""

from pathlib import Path

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.curves import draw_seeds
from papers.pmscn.sizes import sizes
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["PAPER", "draw", "section"]

# Fig 5: Dice of WM, GM, CSF in percent, and millions of parameters
PAPER = {
    "3D": (85.6, 88.2, 84.5, 5.2),
    "P1SC1": (95.1, 94.1, 93.2, 4.7),
    "P2SC2": (95.7, 96.1, 96.3, 2.5),
    "P2SC3": (95.2, 96.1, 97.6, 1.4),
}
TICKS = (0.3, 0.5, 1, 2, 5, 10)
COLUMNS = {"white": 0, "grey": 1, "CSF": 2}


def section(results: Results) -> str:
    """Dice of each tissue beside the paper's, and the share of the 3D network's parameters."""
    rows = []
    for name, row in sizes(results, {name: row[3] for name, row in PAPER.items()}).items():
        printed = PAPER.get(name.partition(",")[0])
        for tissue, column in COLUMNS.items():
            dice = [found[tissue] for found in results.values(name, "by class")]
            row[f"{tissue}, paper"] = f"{printed[column]:.1f}" if printed else ""
            row[f"{tissue}, ours"] = spread(dice)
        row["mean, ours"] = spread(results.values(name, "dice"), 2)
        rows.append(row)
    settings = results.settings
    steps = settings["epochs"] * -(-settings["crops"] // settings["batch"])
    return "\n\n".join(
        [
            table(rows),
            f"Dice in percent on the held-out part, mean and standard deviation over seeds. Width "
            f"{settings['width']}, growth {settings['growth']}, {steps} steps of "
            f"{settings['batch']} crops of {settings['patch']}^3 voxels, Adam at "
            f"{settings['lr']:g} falling along a cosine. {measured_by(results.entries)}",
            f"![Dice by parameters, and training loss]({results.path.stem}.png)",
        ]
    )


def draw(results: Results, path: Path) -> None:
    """Left parameters against the mean Dice, a dot a seed; right the training loss by epoch.

    There a thick line is the mean of the seeds, a thin one a seed.
    """
    names = list(dict.fromkeys(entry["name"] for entry in results.entries))
    figure = new_figure(11, 4)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    for index, name in enumerate(names):
        dice = [100 * value for value in results.values(name, "dice")]
        size = [value / 1e6 for value in results.values(name, "params")]
        left.plot(size, dice, "o", color=color(index), ms=6, mec="white", label=name)
        curves = results.values(name, "train_loss")
        draw_seeds(right, range(1, len(curves[0]) + 1), curves, color(index), name)
    plain_axes(left, "million parameters", "mean Dice of the tissues (%)")
    plain_axes(right, "epoch", "training loss")
    right.set_yscale("log")
    right.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
