"""The section of README and the figure about the ISBI 2012 stack, from the results alone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lean3d.data import Volume
from lean3d.report.drawing import new_figure
from lean3d.report.instances import paint_instances
from papers.results import Results
from papers.text import measured_by, table

__all__ = ["draw", "section"]

METHODS = {
    "raw image": "raw image above a grey value, the best of the training sections",
    "2D U-Net": "2D U-Net",
    "2D U-Net, longer": "the same, trained for longer",
    "3D U-Net": "3D U-Net from scratch",
    "3D from the 2D U-Net": '3D U-Net that starts as the 2D one (`Inflate(fill="center")`)',
}


def section(results: Results) -> str:
    """Scores of every method, and where and how long they were trained."""
    rows = []
    for entry in results.entries:
        row = {"method": METHODS[entry["name"]]}
        row |= {"VI split": f"{entry['vi_split']:.3f}", "VI merge": f"{entry['vi_merge']:.3f}"}
        row |= {"V-Rand": f"{entry['rand_f']:.3f}", "V-Info": f"{entry['info_f']:.3f}"}
        more = entry.get("parameters")
        row["parameters"] = "" if more is None else f"{more:,}"
        row["steps"] = str(entry.get("steps", ""))
        row["minutes"] = f"{entry['seconds'] / 60:.1f}" if "seconds" in entry else ""
        rows.append(row)
    minutes = sum(entry.get("seconds", 0) for entry in results.entries) / 60
    return "\n\n".join(
        [
            table(rows),
            "Lower VI and higher V-Rand and V-Info are better. A step has four crops of a section, "
            "or one of four sections; the longer and the last network begin where the 2D one "
            f"ends, with as many steps. {minutes:.0f} minutes in all, beside other work. "
            f"{measured_by(results.entries)}",
        ]
    )


def draw(volume: Volume, found: Mapping[str, np.ndarray], path: Path) -> None:
    """A held-out section, its true cells, and those that each method finds."""
    assert volume.label is not None
    image, middle = volume.image[0].numpy(), volume.image.shape[1] // 2
    labels = {"image": None, "truth": volume.label.numpy(), **found}
    columns = -(-len(labels) // 2)
    figure = new_figure(3.2 * columns, 7)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(2, columns).flat
    for axes in panels:
        axes.set_axis_off()
    for axes, (title, label) in zip(figure.axes, labels.items(), strict=False):
        axes.imshow(image[middle], cmap="gray", interpolation="nearest")
        if label is not None:
            axes.imshow(paint_instances(label[middle]), interpolation="nearest")
        axes.set_title(title, fontsize=10, loc="left")
    figure.savefig(path, dpi=80, pil_kwargs={"quality": 80})
