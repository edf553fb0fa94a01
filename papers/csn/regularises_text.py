"""The section of README and the figure about regularisation, from the results alone."""

from collections.abc import Sequence
from pathlib import Path

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.curves import draw_seeds
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["DEPTHS", "KINDS", "differences", "draw", "epochs_between", "mean_error", "section"]

KINDS = {"resnet3d": "ResNet3D", "ir_csn": "ir-CSN", "ip_csn": "ip-CSN"}
DEPTHS = (26, 50)
YLABELS = "training error (%)", "test error (%)"
# Table 2, video@1 in percent
PAPER = {
    "ResNet3D-26": 65.3,
    "ir-CSN-26": 62.4,
    "ip-CSN-26": 64.6,
    "ResNet3D-50": 69.4,
    "ir-CSN-50": 70.3,
    "ip-CSN-50": 70.8,
}


def section(results: Results) -> str:
    """Errors at the last epoch, and the differences to ResNet3D within a seed."""
    settings = results.settings
    return "\n\n".join(
        [
            "Errors in percent, in training as the mean of all epochs and at the last one:",
            table(_row(results, name) for name in PAPER),
            "Against ResNet3D of equal depth, within a seed, in points of error:",
            table(
                _compared(results, f"{kind}-{depth}", f"ResNet3D-{depth}")
                for depth in DEPTHS
                for kind in ("ir-CSN", "ip-CSN")
            ),
            f"{settings['clips']} clips of {settings['frames']} x {settings['size']} x "
            f"{settings['size']} to train on, {settings['tests']} of other digits to test on; "
            f"widths {settings['widths']}, {settings['epochs']} epochs; mean and standard "
            f"deviation over seeds, at the last epoch. "
            f"{measured_by(results.entries)}",
            "![errors by epoch](regularises.png)",
        ]
    )


def differences(results: Results, first: str, second: str, key: str) -> list[float]:
    """An error of the first less that of the second, for every seed that has both.

    Args:
        key: "test error", or "train errors" for the mean of the epochs.
    """
    found = {
        (entry["name"], entry["seed"]): entry[key]
        if isinstance(entry[key], float)
        else mean_error(entry[key])
        for entry in results.entries
    }
    seeds = [seed for name, seed in found if name == first and (second, seed) in found]
    return [found[first, seed] - found[second, seed] for seed in seeds]


def epochs_between(curve: Sequence[float], high: float, low: float) -> int | None:
    """From the first epoch below `high` to the first below `low`; None if there is none."""
    firsts = [next((n for n, e in enumerate(curve) if e < edge), None) for edge in (high, low)]
    return None if None in firsts else firsts[1] - firsts[0]  # type: ignore[operator]


def mean_error(curve: Sequence[float]) -> float:
    """The mean of all epochs."""
    return sum(curve) / len(curve)


def _means(curves: Sequence[Sequence[float]]) -> list[float]:
    return [mean_error(curve) for curve in curves]


def _row(results: Results, name: str) -> dict[str, str]:
    params = results.values(name, "params")
    return {
        "network": name,
        "parameters": f"{params[0]:,}" if params else "",
        "training error, mean": spread(_means(results.values(name, "train errors"))),
        "at the end": spread(results.values(name, "train error")),
        "epochs from 50 to 1 %": ", ".join(
            str(epochs_between(curve, 0.5, 0.01)) for curve in results.values(name, "train errors")
        ),
        "test error": spread(results.values(name, "test error")),
        "paper, Kinetics error": f"{100 - PAPER[name]:.1f}",
    }


def _compared(results: Results, first: str, second: str) -> dict[str, str]:
    return {
        "compared": f"{first} - {second}",
        "training error, mean": spread(
            differences(results, first, second, "train errors"), sign="+"
        ),
        "test error": spread(differences(results, first, second, "test error"), sign="+"),
        "paper, Kinetics error": f"{PAPER[second] - PAPER[first]:+.1f}",
    }


def draw(results: Results, path: Path) -> None:
    """Errors by epoch: above in training (Fig 5), below on tests; a column a depth.

    A thick line is the mean of the seeds, a thin one a seed.
    """
    figure = new_figure(10, 6)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for column, depth in enumerate(DEPTHS):
        for index, kind in enumerate(KINDS.values()):
            name = f"{kind}-{depth}"
            trained = results.values(name, "train errors")
            tested = results.values(name, "test errors")
            epochs = [list(range(1, len(curve) + 1)) for curve in trained[:1]]
            epochs += [[int(n) for n in curve] for curve in tested[:1]]
            both = trained, [list(curve.values()) for curve in tested]
            for axes, x, curves in zip(panels[:, column], epochs, both, strict=False):
                percent = [[100 * error for error in curve] for curve in curves]
                draw_seeds(axes, x, percent, color(index), name)
        for axes, ylabel in zip(panels[:, column], YLABELS, strict=True):
            plain_axes(axes, "", "" if column else ylabel)
        panels[0, column].set_title(f"{depth} layers", loc="left", fontsize=10)
        panels[0, column].legend(frameon=False, fontsize=8)
        panels[1, column].set_xlabel("epoch")
        # before, all guess; the differences are small
        panels[1, column].set_ylim(0, 50)
    save_figure(figure, path)
