"""The section of README and the figure about what a unit needs to train, from results alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.curves import draw_seeds
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["LAST", "differences", "draw", "final", "plain", "section"]

# epochs at the end whose mean loss counts, and those whose mean Dice of crops does
LAST, STEADY = 3, 5
PLAIN = "3D"
# a curve each; the rest are in the table
DRAWN = (PLAIN, "P2SC2, fewer", "3D, rate 0.003", "P2SC2, fewer, rate 0.003")
TICKS = (0.5, 1, 2, 5)


def final(curve: Sequence[float], last: int = LAST) -> float:
    """The mean of the last epochs."""
    end = curve[-last:]
    return sum(end) / len(end)


def plain(name: str) -> str:
    """The name of the 3D network that is trained at the same rate."""
    rates = [part for part in name.split(", ") if part.startswith("rate")]
    return ", ".join([PLAIN, *rates])


def differences(results: Results, name: str, last: int = 0) -> list[float]:
    """The Dice of a network less that of 3D at the same rate, in the seeds that both have.

    Args:
        last: Compare the mean of so many last epochs on crops, not the last weights on it all.
    """

    def dice(entry: dict[str, Any]) -> float:
        found: float = final(entry["curve"], last) if last else entry["dice"]
        return found

    first, second = (
        {entry["seed"]: dice(entry) for entry in results.entries if entry["name"] == each}
        for each in (name, plain(name))
    )
    return [first[seed] - second[seed] for seed in first if seed in second]


def section(results: Results) -> str:
    """Training loss and Dice of each change, beside 3D of the same rate and seeds."""
    rows = []
    for name in _names(results):
        losses = [final(curve) for curve in results.values(name, "train_loss")]
        lasts = (0, STEADY) if name != plain(name) else ()
        apart, steady = [differences(results, name, last) for last in lasts] or ([], [])
        rows.append(
            {
                "network": name,
                "parameters": f"{results.values(name, 'params')[0]:,}",
                "training loss": spread(losses, 2, scale=1),
                "Dice": spread(results.values(name, "dice")),
                "Dice - that of 3D": spread(apart, 1, "+") if apart else "",
                f"the same, last {STEADY} epochs": spread(steady, 1, "+") if steady else "",
            }
        )
    settings = results.settings
    steps = settings["epochs"] * -(-settings["crops"] // settings["batch"])
    return "\n\n".join(
        [
            table(rows),
            "Mean Dice of the three tissues in percent on the part held out, and less that of 3D "
            f"at the same rate and seeds, by the last weights, and by the mean of the last "
            f"{STEADY} epochs on crops of that part; training loss of the last {LAST} epochs; mean "
            f"and standard deviation over seeds. Width {settings['width']}, growth "
            f"{settings['growth']}, blocks of {settings['depths']} layers, {steps} steps of "
            f"{settings['batch']} crops of {settings['patch']}^3 voxels of "
            f"{settings['spacing_mm']} mm, Adam at {settings['lr']:g} or the rate named, falling "
            f"along a cosine. {measured_by(results.entries)}",
            "![training loss by epoch, and Dice](units.png)",
        ]
    )


def draw(results: Results, path: Path) -> None:
    """Left the training loss by epoch of some, right the Dice of all, a dot a seed."""
    names = _names(results)
    figure = new_figure(12, 5)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    for index, name in enumerate(name for name in DRAWN if name in names):
        curves = results.values(name, "train_loss")
        draw_seeds(left, range(1, len(curves[0]) + 1), curves, color(index), name)
    plain_axes(left, "epoch", "training loss")
    left.set_yscale("log")
    left.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8)
    for row, name in enumerate(names):
        dice = [100 * value for value in results.values(name, "dice")]
        shade = color(DRAWN.index(name)) if name in DRAWN else "#888888"
        right.plot(dice, [row] * len(dice), "o", color=shade, ms=6, mec="white")
    plain_axes(right, "mean Dice of the tissues (%)", "")
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    save_figure(figure, path)


def _names(results: Results) -> list[str]:
    return list(dict.fromkeys(entry["name"] for entry in results.entries))
