"""The section of README and the figure about reconstruction, from the results alone."""

from pathlib import Path

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.curves import draw_seeds
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["ENDS", "TITLES", "differences", "draw", "section"]

TITLES = {"regular": "Reg. 3D", "rank1": "Rank-1 3D", "stdcf": "STDCF"}
ENDS = {"enlarged": "one channel", "shuffled": "eight, shuffled"}
# Fig 2, in dB
PAPER = {"rank1": 21.50, "stdcf": 24.60}


def section(results: Results) -> str:
    """PSNR of all networks, and the differences within a seed."""
    settings = results.settings
    rows = [_row(results, form, end) for end in ENDS for form in TITLES]
    compared = [
        {
            "last layer": title,
            "paper, STDCF - rank-1": f"{PAPER['stdcf'] - PAPER['rank1']:+.2f}",
            "ours, STDCF - rank-1": _spread(differences(results, "stdcf", "rank1", end), "+"),
            "ours, STDCF - regular": _spread(differences(results, "stdcf", "regular", end), "+"),
        }
        for end, title in ENDS.items()
    ]
    size = settings["size"]
    return "\n\n".join(
        [
            "Mean PSNR of test clips in dB:",
            table(rows),
            "Differences within a seed, in dB:",
            table(compared),
            f"Clips of {settings['frames']} x {size} x {size}, {settings['channels']} channels, "
            f"{settings['epochs']} epochs of {settings['clips']} new clips, {settings['tests']} "
            f"clips of other digits to test on; mean and standard deviation over seeds. "
            f"{measured_by(results.entries)}",
            "![PSNR by epoch](reconstruct.png)",
        ]
    )


def differences(results: Results, first: str, second: str, end: str) -> list[float]:
    """dB of the first form less that of the second, for every seed that has both."""
    found = {(entry["name"], entry["seed"]): entry["psnr"] for entry in results.entries}
    seeds = [seed for name, seed in found if name == f"{first} {end}"]
    both = [seed for seed in seeds if (f"{second} {end}", seed) in found]
    return [found[f"{first} {end}", seed] - found[f"{second} {end}", seed] for seed in both]


def _row(results: Results, form: str, end: str) -> dict[str, str]:
    params = results.values(f"{form} {end}", "params")
    return {
        "kernels": TITLES[form],
        "last layer": ENDS[end],
        "parameters": f"{params[0]:,}" if params else "",
        "paper": f"{PAPER[form]:.2f}" if form in PAPER and end == "enlarged" else "",
        "ours": _spread(results.values(f"{form} {end}", "psnr")),
    }


def _spread(values: list[float], sign: str = "") -> str:
    return spread(values, 2, sign, scale=1)


def draw(results: Results, path: Path) -> None:
    """PSNR by epoch, thick the mean of the seeds; left one channel at the end, right eight."""
    settings = results.settings
    figure = new_figure(10, 3.8)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (end, last) in zip(panels, ENDS.items(), strict=True):
        for index, (form, title) in enumerate(TITLES.items()):
            curves = results.values(f"{form} {end}", "curve")
            draw_seeds(axes, range(1, settings["epochs"] + 1), curves, color(index), title)
        plain_axes(axes, "epoch", "")
        axes.set_title(f"last layer: {last}", loc="left", fontsize=10)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    panels[0].set_ylabel("mean PSNR of test clips (dB)")
    save_figure(figure, path)
