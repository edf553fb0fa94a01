"""Parameters against multiply-adds of all families, as one figure: `python -m papers.families`.

Clips have 16 frames of 112 x 112 and 400 classes, volumes 64^3 voxels; a D-ResNet is charged for
one new frame, which is what it is for. Writes families.csv, .svg and .png into docs/.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from lean3d import ops
from lean3d.cost import count
from lean3d.files import write_text
from lean3d.models import create_model
from lean3d.report import save_figure
from lean3d.report.drawing import color, new_figure, plain_axes
from lean3d.report.labels import place_labels

__all__ = ["CLIPS", "VOLUMES", "Point", "draw", "main", "measure", "points"]

DOCS = Path(__file__).parents[1] / "docs"
CLIP, FRAME, VOLUME = (1, 3, 16, 112, 112), (1, 3, 1, 112, 112), (1, 1, 64, 64, 64)
ATOMS = partial(ops.AtomConv3d, spatial=6, temporal=2, path="stages")
UNET: dict[str, Any] = dict(widths=(64, 128, 256, 512), skip="full", narrow=True)
MARKERS = "oshD^v<>P*"
Member = tuple[str, str, dict[str, Any]]


def depths(prefix: str, *numbers: int) -> list[Member]:
    return [(str(number), f"{prefix}_{number}", {}) for number in numbers]


def widths(name: str, *factors: float) -> list[Member]:
    return [(f"{factor:g}x", name, dict(width=factor)) for factor in factors]


def psc(name: str) -> list[Member]:
    settings = ((1, 1), (2, 2), (2, 3))
    return [(f"{m},{n}", name, dict(streams=m, depth=n)) for m, n in settings]


CLIPS: dict[str, list[Member]] = {
    "ResNet3D": depths("resnet3d", 18, 34, 50, 101, 152),
    "R(2+1)D": depths("r2plus1d", 18, 34, 152),
    "P3D": depths("p3d", 63, 131, 199),
    "MC3": depths("mc3", 18),
    "ir-CSN": depths("ir_csn", 26, 50, 101, 152),
    "ip-CSN": depths("ip_csn", 26, 50, 101, 152),
    "3D-ResNet": depths("hara_resnet", 10, 18, 34, 50, 101, 152, 200),
    "D-ResNet, one frame": depths("d_resnet", 18, 50, 101),
    "PmSCn-ResNet": psc("psc_resnet34"),
    "STDCF-R50": [("M=6, N=2", "stdcf_resnet50", dict(conv=ATOMS))],
    "3D-ResNeXt": depths("resnext3d", 101),
    "X3D": [("M", "x3d_m", {})],
    "MobileNetV1": widths("mobilenet3d_v1", 0.5, 1, 2),
    "MobileNetV2": widths("mobilenet3d_v2", 0.5, 1, 2),
    "ShuffleNetV1": widths("shufflenet3d_v1", 0.5, 1, 2),
    "ShuffleNetV2": widths("shufflenet3d_v2", 0.5, 1, 2),
    "SqueezeNet": [("1.1", "squeezenet3d", {})],
}
VOLUMES: dict[str, list[Member]] = {
    "UNet 3D": [("", "unet3d", UNET)],
    "UNet ACS": [("", "unet3d", UNET | dict(conv=ops.ACSConv3d))],
    "UNet atoms": [("", "unet3d", UNET | dict(conv=ATOMS))],
    "UNet ip-CSN": [("", "unet3d", UNET | dict(conv=ops.ChannelSeparatedConv3d))],
    "PmSCn-UNet": psc("psc_unet"),
    "DenseNet 3D": [("", "densenet3d", {})],
    "PmSCn-DenseNet": psc("psc_densenet"),
}

FAMILIES = {"clip": CLIPS, "volume": VOLUMES}


@dataclass(frozen=True)
class Point:
    """A network and its cost."""

    input: str
    family: str
    member: str
    gmacs: float
    mparams: float


def points() -> Iterator[Point]:
    """All of them, family by family."""
    for kind, families in FAMILIES.items():
        for family in families:
            yield from measure(kind, family)


def measure(kind: str, family: str) -> Iterator[Point]:
    """The members of one family."""
    for member, name, options in FAMILIES[kind][family]:
        classes = dict(num_classes=400) if kind == "clip" else {}
        with torch.device("meta"):
            model = create_model(name, **options, **classes)
        shape = VOLUME if kind == "volume" else FRAME if name.startswith("d_") else CLIP
        cost = count(model, shape)
        yield Point(kind, family, member, cost.macs / 1e9, cost.params / 1e6)


def draw(found: Iterable[Point], path: Path) -> None:
    """Clips left, volumes right; a line joins the sizes of a family."""
    figure = new_figure(13, 6)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, 2, width_ratios=(3, 2))
    titles = "clips of 3x16x112x112, 400 classes", "volumes of 1x64x64x64"
    drawn = []
    for axes, (_, group), title in zip(
        panels, groupby(found, lambda p: p.input), titles, strict=True
    ):
        shown = list(group)
        for index, (family, members) in enumerate(groupby(shown, lambda point: point.family)):
            _draw_family(axes, family, list(members), index)
        _log_axes(axes)
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(fontsize=8, loc="upper left", frameon=False)
        drawn.append((axes, shown))
    for axes, shown in drawn:
        where = [(point.gmacs, point.mparams) for point in shown]
        place_labels(axes, where, [point.member for point in shown])
    save_figure(figure, path)


def _draw_family(axes: Axes, family: str, members: list[Point], index: int) -> None:
    x, y = zip(*((point.gmacs, point.mparams) for point in members), strict=True)
    style = dict(color=color(index), marker=MARKERS[index % len(MARKERS)], ms=6, lw=1)
    axes.plot(x, y, label=family, **style)


def _log_axes(axes: Axes) -> None:
    plain_axes(axes, "GMACs, log scale", "million parameters, log scale")
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


def main() -> None:
    found = list(points())
    file = io.StringIO()
    writer = csv.DictWriter(file, list(asdict(found[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in found)
    write_text(DOCS / "families.csv", file.getvalue())
    draw(found, DOCS / "families")
    print(file.getvalue() + f"wrote {DOCS / 'families'}.csv, .svg and .png: {len(found)} networks")


if __name__ == "__main__":
    main()
