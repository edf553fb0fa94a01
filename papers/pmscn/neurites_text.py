"""The section of README and the figure about drawn neurites, from the results alone."""

from pathlib import Path
from typing import Any

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.pmscn.sizes import sizes
from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["PAPER", "draw", "section"]

# Fig 6d: VI merge and split, and millions of parameters
PAPER = {
    "3D": (0.10, 0.48, 21),
    "P1SC1": (0.11, 0.24, 11),
    "P2SC2": (0.07, 0.23, 12),
    "P2SC3": (0.08, 0.28, 10),
}


def section(results: Results) -> str:
    """Variation of information beside the paper's, and the share of the 3D network's parameters."""
    rows = []
    for name, row in sizes(results, {name: row[2] for name, row in PAPER.items()}).items():
        merge, split, _ = PAPER[name]
        for key, printed in (("merge", merge), ("split", split), ("", merge + split)):
            words = f"VI {key}".strip()
            row[f"{words}, paper"] = f"{printed:.2f}"
            values = results.values(name, f"vi_{key}".rstrip("_"))
            row[f"{words}, ours"] = spread(values, 3, scale=1)
        steps = [1000 * value for value in results.values(name, "step_seconds")]
        row["ms a step"] = spread(steps, 0, scale=1)
        rows.append(row)
    settings = results.settings
    steps = settings["epochs"] * settings["train_samples"] // settings["batch_size"]
    size = " x ".join(map(str, settings["patch"]))
    return "\n\n".join(
        [
            table(rows),
            "Lower is better; at the best threshold of the merging, mean and standard deviation "
            f"over seeds. Widths {settings['widths']}, {steps} steps of {settings['batch_size']} "
            f"crops of {size}. A step draws its crops too, and ran beside other work. Trained: "
            f"{measured_by(_trained(results))} Scored: {measured_by(results.entries)}",
        ]
    )


def _trained(results: Results) -> list[dict[str, Any]]:
    """The entries with the provenance of their last session of training."""
    return [
        entry | {"where": {**(last := entry["trained"][-1]), "commit": _commit(last, entry)}}
        for entry in results.entries
    ]


def _commit(session: dict[str, Any], entry: dict[str, Any]) -> str:
    return session["commit"] or entry["where"]["commit"]


def draw(results: Results, path: Path) -> None:
    """Left VI merge against VI split, a dot a seed, the paper's as crosses; right the loss."""
    names = list(dict.fromkeys(entry["name"] for entry in results.entries))
    figure = new_figure(11, 4)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    for index, name in enumerate(names):
        x, y = (results.values(name, key) for key in ("vi_merge", "vi_split"))
        left.plot(x, y, "o", color=color(index), ms=6, mec="white", label=name)
        left.plot(*PAPER[name][:2], "x", color=color(index), ms=7)
        for curve in results.values(name, "train_loss"):
            right.plot(range(1, len(curve) + 1), curve, color=color(index), lw=1)
    plain_axes(left, "VI merge (crosses: the paper, on its own data)", "VI split")
    plain_axes(right, "epoch", "training loss")
    left.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
