"""Draw docs/operators.svg and .png: what each operator costs beside nn.Conv3d.

    python benchmarks/operators_figure.py

Reads the newest results/operators_*.md; times nothing.
"""

import re
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lean3d.report.drawing import COLOURS, new_figure, plain_axes, save_figure

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
# column of the results -> its name in the legend, colour and marker
SERIES = {
    "params": ("parameters", COLOURS[3], "s"),
    "MACs per voxel": ("multiply-adds", COLOURS[1], "D"),
    "forward / Conv3d": ("time, forward", COLOURS[2], "o"),
    "forward + backward / Conv3d": ("time, forward + backward", COLOURS[4], "^"),
}
# markers of one operator stand one above the other, so that equal costs stay visible
SHIFTS = (-0.27, -0.09, 0.09, 0.27)
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
DATE = re.compile(r"; (\d{4}-\d{2}-\d{2});")


def newest() -> Path:
    """The operators' results of the latest date."""
    return max(
        HERE.glob("results/operators_*.md"), key=lambda path: DATE.findall(path.read_text())[0]
    )


def read(path: Path) -> list[dict[str, str]]:
    """The rows of the table in a results file."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


def ratios(rows: list[dict[str, str]], column: str) -> list[float]:
    """A column over its value for nn.Conv3d; times are ratios already."""
    values = [float(row[column]) for row in rows]
    return values if column.endswith("/ Conv3d") else [value / values[0] for value in values]


def draw(rows: list[dict[str, str]]) -> Figure:
    """One line an operator, one marker a cost, on a log axis where nn.Conv3d is 1."""
    figure = new_figure(9, 4.6)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.axvline(1, color="#222222", linewidth=1)
    places = range(len(rows) - 1)  # without nn.Conv3d itself
    costs = {column: ratios(rows, column)[1:] for column in SERIES}
    for place in places[1::2]:  # a band under every other operator
        axes.axhspan(place - 0.5, place + 0.5, color="#F4F4F4", zorder=0)
    for shift, (column, (label, colour, marker)) in zip(SHIFTS, SERIES.items(), strict=True):
        height = [place + shift for place in places]
        axes.plot(costs[column], height, marker, color=colour, label=label, ms=6, mec="white")
    axes.set_yticks(places, [row["operator"] for row in rows[1:]])
    plain_axes(axes, "cost relative to nn.Conv3d, log scale", "")
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(len(rows) - 1.5, -0.5)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


if __name__ == "__main__":
    save_figure(draw(read(newest())), DOCS / "operators")
