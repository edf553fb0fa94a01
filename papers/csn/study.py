"""CSN's study of blocks (Sec 4.4): what every network of Figures 6 and 7 costs."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.ticker import LogLocator, NullLocator

from lean3d.cost import count
from lean3d.files import write_text
from lean3d.models import create_model, find_model
from lean3d.report import save_figure
from lean3d.report.drawing import COLOURS, new_figure, plain_axes

GROUPS = (2, 4, 8, 16, 32, 64)
# from left to right in the paper's curves, the base network first
CURVES = {
    "simple": ("simple", "simple_g", "simple_d"),
    "bottleneck": ("bottleneck", "bottleneck_g", "bottleneck_d", "bottleneck_dg"),
}
# hexagons and stars as in Figure 6
MARKERS = {"": "h", "g": "o", "d": "*", "dg": "D"}
SIZES = {"": 12, "d": 14}


@dataclass(frozen=True)
class Point:
    """A network of the study and its cost on the paper's clip of 8 x 224 x 224."""

    name: str
    curve: str
    blocks: int
    kind: str
    groups: int
    gmacs: float
    mparams: float
    gpairs: float


def study_points() -> list[Point]:
    """All networks, curve by curve, in the order in which the paper groups more and more."""
    return [
        _point(curve, kind, blocks, groups)
        for blocks in (8, 16)
        for curve, kinds in CURVES.items()
        for kind in kinds
        for groups in (GROUPS if kind.endswith("g") else (1,))
    ]


def _point(curve: str, kind: str, blocks: int, groups: int) -> Point:
    name = f"{kind}_{blocks}"
    with torch.device("meta"):
        model = create_model(name, **(dict(groups=groups) if groups > 1 else {}))
    cost = count(model, find_model(name).input_shape, profile="csn")
    numbers = cost.macs / 1e9, cost.weights / 1e6, cost.interactions / 1e9
    return Point(name, curve, blocks, kind.partition("_")[2], groups, *numbers)


def write_points(points: Sequence[Point], path: Path) -> None:
    """One line a network."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(asdict(points[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    write_text(path, file.getvalue())


def draw_study(points: Sequence[Point], path: Path) -> None:
    """Cost against channel interactions, 8 blocks left and 16 right, as SVG and PNG."""
    figure = new_figure(10, 4.4)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, blocks in zip(panels, (8, 16), strict=True):
        for curve, colour in zip(CURVES, (COLOURS[3], COLOURS[5]), strict=True):
            _draw_curve(axes, [p for p in points if (p.curve, p.blocks) == (curve, blocks)], colour)
        plain_axes(axes, "GMACs per clip of 8x224x224, log scale", "")
        axes.set_title(f"{blocks} blocks", loc="left", fontsize=10)
    panels[0].set_ylabel("channel interactions, G pairs, log scale")
    panels[0].set(xscale="log", yscale="log")
    for axis in (panels[0].xaxis, panels[0].yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    save_figure(figure, path)


def _draw_curve(axes, points: Sequence[Point], colour: str) -> None:
    axes.plot([p.gmacs for p in points], [p.gpairs for p in points], color=colour, lw=1.2)
    for kind in dict.fromkeys(p.kind for p in points):
        xy = [(p.gmacs, p.gpairs) for p in points if p.kind == kind]
        title = "-".join(filter(None, (points[0].curve, kind.upper())))
        style = dict(
            ls="none", color=colour, ms=SIZES.get(kind, 7), mec="white", mew=0.6, label=title
        )
        axes.plot(*zip(*xy, strict=True), marker=MARKERS[kind], **style)
