"""The section of README and the figure about views, from the results alone."""

from pathlib import Path

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.curves import draw_seeds
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["draw", "section"]


def _names(results: Results) -> tuple[list[str], list[str]]:
    """Data and ways, in the order of the entries."""
    pairs = [entry["name"].split(", ") for entry in results.entries]
    return [list(dict.fromkeys(pair[place] for pair in pairs)) for place in (0, 1)]  # type: ignore[return-value]


def section(results: Results) -> str:
    """Dice, the difference from thirds within a seed, and the views that were chosen."""
    rows = []
    for data in _names(results)[0]:
        base = _by_seed(results, f"{data}, thirds")
        for how in _names(results)[1]:
            name = f"{data}, {how}"
            ours = _by_seed(results, name)
            less = [ours[seed] - base[seed] for seed in ours if seed in base]
            shares = [e["shares"] for e in results.entries if e["name"] == name and "shares" in e]
            mean = [sum(view) / len(shares) for view in zip(*shares, strict=True)]
            rows.append(
                {
                    "data": data,
                    "views": how,
                    "Dice": spread(list(ours.values())),
                    "less thirds": "" if how == "thirds" else spread(less, sign="+"),
                    "axial, coronal, sagittal (%)": ", ".join(f"{100 * s:.0f}" for s in mean),
                }
            )
    settings = results.settings
    return "\n\n".join(
        [
            table(rows),
            f"Mean and standard deviation over seeds of the Dice on {settings['tests']} volumes, "
            f"after {settings['epochs']} epochs of {settings['volumes']} volumes of "
            f"{settings['size']}^3 voxels (slices: half as many), widths {settings['widths']}. "
            f"{measured_by(results.entries)}",
            "![Dice by epoch](views.png)",
        ]
    )


def draw(results: Results, path: Path) -> None:
    """Dice on the tests by epoch, a panel for each data: thick the mean of the seeds."""
    data, ways = _names(results)
    figure = new_figure(4 * len(data), 3.6)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(data), squeeze=False)[0]
    for axes, one in zip(panels, data, strict=True):
        for index, how in enumerate(ways):
            curves = [[100 * v for v in c] for c in results.values(f"{one}, {how}", "curve")]
            epochs = range(1, results.settings["epochs"] + 1)
            draw_seeds(axes, epochs, curves, color(index), how)
        plain_axes(axes, "epoch", "Dice on the tests (%)")
        axes.set_title(one, loc="left", fontsize=10)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    save_figure(figure, path)


def _by_seed(results: Results, name: str) -> dict[int, float]:
    return {entry["seed"]: entry["dice"] for entry in results.entries if entry["name"] == name}
