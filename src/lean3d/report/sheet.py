"""Layout of the panels of a figure: three views below each other, at one scale. In inches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lean3d.report.drawing import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Sheet", "legend", "name_columns", "name_row"]

COLUMNS = 3
PANEL, TALLEST, SHORTEST = 3.5, 5.0, 0.9
GAP, LEFT, TOP, BOTTOM = 0.08, 0.55, 0.42, 0.6


@dataclass(frozen=True)
class Sheet:
    """Three columns of panels.

    Args:
        views: Width and height of each row's picture, in millimetres.
    """

    views: tuple[tuple[float, float], ...]

    @property
    def scale(self) -> float:
        """Return inches per millimetre: the widest view fills a panel, none is too tall."""
        widest, tallest = (max(sizes) for sizes in zip(*self.views, strict=True))
        return min(PANEL / widest, TALLEST / tallest)

    @property
    def column(self) -> float:
        """Width of a column: the widest view, and room for its heading."""
        return max(max(width for width, _ in self.views) * self.scale, PANEL - 0.2)

    @property
    def rows(self) -> list[float]:
        """Height of each row, at least that of its name."""
        return [max(height * self.scale, SHORTEST) for _, height in self.views]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        wide = LEFT + COLUMNS * (self.column + GAP)
        return wide, TOP + sum(self.rows) + len(self.rows) * GAP + BOTTOM

    @property
    def largest(self) -> int:
        """The row with the largest picture."""
        areas = [width * height for width, height in self.views]
        return areas.index(max(areas))

    def middle(self, row: int, column: int) -> tuple[float, float]:
        """Centre of a panel, from the figure's lower left corner."""
        x = LEFT + column * (self.column + GAP) + self.column / 2
        below = sum(self.rows[row + 1 :]) + (len(self.rows) - row - 1) * GAP
        return x, BOTTOM + below + self.rows[row] / 2

    def place(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of a picture, in shares of the figure."""
        wide, high = (length * self.scale for length in self.views[row])
        x, y = self.middle(row, column)
        total_wide, total_high = self.size
        left, bottom = x - wide / 2, y - high / 2
        return left / total_wide, bottom / total_high, wide / total_wide, high / total_high


def name_row(figure: "Figure", sheet: Sheet, row: int, name: str) -> None:
    """Write up the left margin."""
    wide, high = sheet.size
    x, y = LEFT / 2 / wide, sheet.middle(row, 0)[1] / high
    figure.text(x, y, name, rotation=90, ha="center", va="center", fontsize=10, color=INK)


def name_columns(figure: "Figure", sheet: Sheet, names: Sequence[str]) -> None:
    """Write above each column."""
    wide, high = sheet.size
    for column, name in enumerate(names):
        x, y = sheet.middle(0, column)[0] / wide, 1 - TOP / 2 / high
        figure.text(x, y, name, ha="center", va="center", fontsize=11, color=INK)


def legend(
    figure: "Figure", names: Sequence[str], colours: Sequence[str], left: float, right: float
) -> None:
    """Filled and outlined marks below the panels, between two shares of the width."""
    from matplotlib.patches import Patch

    marks = [Patch(facecolor=f"{c}99", edgecolor=c, linewidth=1.2) for c in colours]
    box = (left, 0, right - left, BOTTOM / figure.get_figheight())
    style = dict(frameon=False, fontsize=10, labelcolor=INK, borderaxespad=0)
    columns = max(min(len(names), 5), 1)
    figure.legend(marks, names, loc="center", bbox_to_anchor=box, ncols=columns, **style)
