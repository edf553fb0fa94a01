"""The section of README and the figure about regularisation, from the results alone."""

from pathlib import Path

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["DEPTHS", "KINDS", "differences", "draw", "section"]

KINDS = {"resnet3d": "ResNet3D", "ir_csn": "ir-CSN", "ip_csn": "ip-CSN"}
DEPTHS = (26, 50)
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
            "Errors in percent:",
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
            f"![errors by epoch]({results.path.stem}.png)",
        ]
    )


def differences(results: Results, first: str, second: str, key: str) -> list[float]:
    """An error of the first less that of the second, for every seed that has both."""
    found = {(entry["name"], entry["seed"]): entry[key] for entry in results.entries}
    seeds = [seed for name, seed in found if name == first and (second, seed) in found]
    return [found[first, seed] - found[second, seed] for seed in seeds]


def _row(results: Results, name: str) -> dict[str, str]:
    params = results.values(name, "params")
    return {
        "network": name,
        "parameters": f"{params[0]:,}" if params else "",
        "training error": spread(results.values(name, "train error")),
        "test error": spread(results.values(name, "test error")),
        "paper, Kinetics error": f"{100 - PAPER[name]:.1f}",
    }


def _compared(results: Results, first: str, second: str) -> dict[str, str]:
    return {
        "compared": f"{first} - {second}",
        "training error": spread(differences(results, first, second, "train error"), sign="+"),
        "test error": spread(differences(results, first, second, "test error"), sign="+"),
        "paper, Kinetics error": f"{PAPER[second] - PAPER[first]:+.1f}",
    }


def draw(results: Results, path: Path) -> None:
    """Errors by epoch, in training dashed, a line a seed (Fig 5); a panel a depth."""
    figure = new_figure(11, 4)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, depth in zip(panels, DEPTHS, strict=True):
        for index, kind in enumerate(KINDS.values()):
            name, style = f"{kind}-{depth}", dict(color=color(index), lw=1)
            for curve in results.values(name, "train errors"):
                percent = [100 * value for value in curve]
                axes.plot(range(1, len(curve) + 1), percent, ls=(0, (3, 2)), **style)
            for seed, curve in enumerate(results.values(name, "test errors")):
                epochs = [int(epoch) for epoch in curve]
                percent = [100 * value for value in curve.values()]
                axes.plot(epochs, percent, label=name if not seed else None, **style)
        plain_axes(axes, "epoch", "")
        axes.set_title(f"{depth} layers", loc="left", fontsize=10)
        axes.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("error (%): test, and training (dashed)")
    save_figure(figure, path)
